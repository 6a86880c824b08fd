"""JSON and YAML: schema `migratekit.wave-report/1` (docs/json.md)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migratekit_cli.commands.wave import waveplan, waveview

if TYPE_CHECKING:
    from migratekit_core.services.waves.look import Attempt
    from migratekit_core.services.waves.report import WaveReport

SCHEMA = "migratekit.wave-report/1"


def document(report: WaveReport) -> dict[str, Any]:
    """Return the report as JSON has it."""
    return {
        **waveview.document(report.seen),
        "file": waveplan.document(report.wave),
        "copied": report.copied,
        "copy_seconds": report.copy_seconds,
        "average_rate": report.rate,
        "attempts": [_attempt(each) for each in report.attempts],
        "throughput": [_plain(asdict(each)) for each in report.throughput],
    }


def _attempt(each: Attempt) -> dict[str, Any]:
    plain = {**_plain(asdict(each)), "error": each.error.fields if each.error else None}
    plain["vm"], plain["vm_uuid"] = plain.pop("name"), plain.pop("vm_id")
    return plain


def _plain(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in fields.items()}
