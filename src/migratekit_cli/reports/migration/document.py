"""A report as JSON (migratekit.report/1)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migratekit_core.joblog.export import plain

if TYPE_CHECKING:
    from migratekit_core.services.reports.model import Report

SCHEMA = "migratekit.report/1"
RENAMED = {
    "capacity": "capacity_bytes",
    "changed": "changed_bytes",
    "read": "read_bytes",
    "moved": "moved_bytes",
    "compared": "compared_bytes",
    "pending": "not_yet_replicated_bytes",
    "differing": "different_bytes",
    "size": "size_bytes",
    "downtime": "downtime_seconds",
    "at": "at",
}
"""Names that say their unit, as in every JSON form."""


def document(report: Report) -> dict[str, Any]:
    """Return a report for machines."""
    machine = report.machine
    return {
        "title": report.title,
        "vm": machine.name if machine else None,
        "vm_uuid": machine.uuid if machine else None,
        "vm_path": machine.path if machine else None,
        "vcenter": machine.vcenter if machine else None,
        "datacenter": machine.datacenter if machine else None,
        "networks": report.networks,
        "jobs": [plain(found) for found in report.jobs],
        "jobs_left_out": report.left_out,
        "syncs": [_plain(sync) | {"bytes_per_second": sync.rate} for sync in report.syncs],
        "verifications": [_plain(each) for each in report.verified],
        "failovers": [_plain(each) for each in report.cutovers],
        "made": [_plain(each) for each in report.made],
    }


def _plain(thing: Any) -> dict[str, Any]:
    return {RENAMED.get(name, name): _value(value) for name, value in asdict(thing).items()}


def _value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [
            {RENAMED.get(name, name): _value(held) for name, held in item.items()} if isinstance(item, dict) else item
            for item in value
        ]
    return value
