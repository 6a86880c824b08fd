"""A job as one document: for an archive, before it is pruned, or for another program."""

from __future__ import annotations

from typing import Any

from migratekit_core.joblog.search import Found

SCHEMA = "migratekit.job-export/1"


def document(found: Found) -> dict[str, Any]:
    """Return a job with its steps, its events, and the jobs within it in the same form."""
    return {"schema": SCHEMA, **plain(found)}


def plain(found: Found) -> dict[str, Any]:
    return {
        "job": found.job.model_dump(mode="json"),
        "steps": [step.model_dump(mode="json") for step in found.steps],
        "events": [event.model_dump(mode="json") for event in found.events],
        "jobs": [plain(inner) for inner in found.within],
    }
