"""A job as lines in the order of time: steps that begin and end, what was recorded in them, and how jobs end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migratekit_core.joblog.search import Found
from migratekit_core.joblog.states import COMPLETED, RUNNING


@dataclass(frozen=True)
class Record:
    """One line. `key` is its own in the whole joblog."""

    key: str
    at: datetime
    level: str
    job_id: str
    kind: str
    owner: str
    step: str
    """Name of the step; "" for the job itself."""
    message: str
    fields: dict[str, Any]
    event: str | None = None
    """Kind of the event; None for what begins and ends."""


def records(found: Found) -> list[Record]:
    """Return all lines of a job and the jobs within it."""
    lines = [line for one in found.tree() for line in _lines(one)]
    return sorted(lines, key=lambda line: line.at)


def _lines(found: Found) -> Iterator[Record]:
    job = found.job
    names = {step.id: step.name for step in found.steps}

    def line(
        key: str, at: datetime, level: str, step: str, message: str, fields: dict[str, Any], event: str | None = None
    ) -> Record:
        return Record(f"{job.id}/{key}", at, level, job.id, job.kind, job.owner, step, message, fields, event)

    yield line("begin", job.started_at, "info", "", f"{job.kind} of {job.owner} began", {"host": job.host})
    for step in found.steps:
        yield line(f"step-{step.sequence}", step.started_at, "info", step.name, RUNNING, {})
        if step.completed_at is not None:
            level, message = _ended(step.status, step.error_message)
            seconds = round((step.completed_at - step.started_at).total_seconds(), 3)
            yield line(f"step-{step.sequence}-end", step.completed_at, level, step.name, message, {"seconds": seconds})
    for event in found.events:
        key, step_name, told = f"event-{event.id}", names.get(event.step_id, ""), event.fields or {}
        yield line(key, event.created_at, event.level, step_name, event.message, told, event.kind)
    if job.completed_at is not None:
        level, message = _ended(job.status, job.error_message)
        seconds = round((job.completed_at - job.started_at).total_seconds(), 3)
        yield line("end", job.completed_at, level, "", f"{job.kind} {message}", {"seconds": seconds})


def _ended(status: str, error: str | None) -> tuple[str, str]:
    if status == COMPLETED:
        return "info", status
    return ("error" if error else "warning"), f"{status}: {error}" if error else status
