"""JSON and YAML: schema `migratekit.assess/1` (docs/json.md)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migratekit_core.services.assessment.rule import Finding, Severity

if TYPE_CHECKING:
    from migratekit_core.services.assessment.assessment import Assessment
    from migratekit_core.services.assessment.sizing import Sizing


def document(assessment: Assessment, sizing: Sizing | None = None) -> dict[str, Any]:
    """Return the assessment as JSON has it."""
    data: dict[str, Any] = {
        "summary": {
            "machines": len(assessment.machines),
            **{severity.value: assessment.count(severity) for severity in Severity},
            "accepted": len(assessment.accepted),
            "not_checked": len(assessment.not_checked),
        },
        "machines": [
            {"vm": vm.name, "vm_uuid": vm.uuid, "vm_path": vm.path, "verdict": assessment.verdict(vm)}
            for vm in assessment.machines
        ],
        "findings": [finding(found) for found in assessment.findings],
        "accepted": [finding(found) for found in assessment.accepted],
        "not_checked": [asdict(rule) for rule in assessment.not_checked],
    }
    if sizing is not None:
        data["sizing"] = asdict(sizing)
    return data


def finding(found: Finding) -> dict[str, Any]:
    """Return a finding as JSON has it."""
    return {**asdict(found), "severity": found.severity.value, "fingerprint": found.fingerprint}
