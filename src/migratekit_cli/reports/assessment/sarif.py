"""SARIF 2.1.0 (OASIS), for code scanning. A machine has no source file: its inventory path stands for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from migratekit_core.common.visible import one_line
from migratekit_core.services.assessment.rule import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migratekit_core.services.assessment.assessment import Assessment
    from migratekit_core.services.assessment.rule import Rule

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.BLOCKER: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
FINGERPRINT = "migratekitFinding/v1"
SITE = "site"


def document(assessment: Assessment, rules: Iterable[Rule], version: str) -> dict[str, Any]:
    """Return a SARIF log with one run."""
    rules = tuple(rules)
    index = {rule.id: number for number, rule in enumerate(rules)}
    results = [_result(found, index[found.rule]) for found in assessment.findings]
    results += [
        {**_result(found, index[found.rule]), "suppressions": [{"kind": "external", "status": "accepted"}]}
        for found in assessment.accepted
    ]
    notifications = [
        {
            "level": "note",
            "descriptor": {"id": each.rule},
            "message": {"text": _message(f"{each.rule} {each.what} was not checked: {each.reason}")},
        }
        for each in assessment.not_checked
    ]
    run = {
        "tool": {"driver": {"name": "migratekit", "version": version, "rules": [_rule(rule) for rule in rules]}},
        "automationDetails": {"id": "migratekit/assess/"},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notifications}],
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.what},
        "fullDescription": {"text": rule.why},
        "help": {"text": str(rule.remedy), "markdown": f"{rule.why}\n\n**Remedy:** {rule.remedy}"},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
        "properties": {"tags": [rule.topic.lower(), rule.severity.value]},
    }


def _result(found: Finding, rule_index: int) -> dict[str, Any]:
    name = found.vm_path or SITE
    subject = f" ({found.subject})" if found.subject else ""
    text = f"{found.vm or SITE}{subject}: {found.what}: {found.message}. {found.remedy}"
    return {
        "ruleId": found.rule,
        "ruleIndex": rule_index,
        "level": LEVELS[found.severity],
        "message": {"text": _message(text)},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(name)},
                    "region": {"startLine": 1},
                },
                "logicalLocations": [
                    {
                        "name": one_line(found.vm or SITE),
                        "fullyQualifiedName": one_line(f"{name}{subject}"),
                        "kind": "resource",
                    }
                ],
            }
        ],
        "partialFingerprints": {FINGERPRINT: found.fingerprint},
    }


def _message(text: str) -> str:
    """Return a text in which nothing is a link or a placeholder (SARIF 2.1.0, 3.11.5 and 3.11.6)."""
    shown = one_line(text).replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]")
    return shown.replace("{", "{{").replace("}", "}}")


def _uri(path: str) -> str:
    """Return the address that stands for a machine; none leads out of it."""
    parts = [part if part.strip(".") else "_" * len(part) for part in one_line(path).strip("/").split("/")]
    return quote(f"vsphere/{'/'.join(parts)}")
