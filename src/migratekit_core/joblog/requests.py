"""Changes asked of a running job from elsewhere: an event of its joblog, which the job looks for while it works.

So it works from every host that reaches the database, needs no further port or socket, and is recorded.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.show import details
from migratekit_core.joblog.states import RUNNING
from migratekit_core.joblog.tracker import Tracker

COPYING = frozenset({"replication", "failover"})
"""Kinds of jobs that copy, and listen while they do."""


def ask(tracker: Tracker, beginning: str, settings: dict[str, Any]) -> JoblogJob:
    """Ask the running job whose id begins so for other settings; return it.

    Raises PreconditionError for a job that is unknown, does not copy, or has ended.
    """
    tracker.mark_interrupted()
    job = details(tracker, beginning).job
    problem = ""
    if job.kind not in COPYING:
        problem = f"it is a {job.kind}, which copies nothing"
    elif job.status != RUNNING:
        problem = f"it is {job.status}"
    if problem:
        raise PreconditionError(
            f"job {job.id} cannot be changed",
            problem,
            hint("look with: ", migratekit("jobs", "list", "--status", "running")),
            code=ErrorCode.JOB_NOT_LISTENING,
            facts={"job_id": job.id},
        )
    tracker.note(job, EventKind.SETTINGS_ASKED, settings)
    return job


def asked(db: Session, job_id: str, after: int) -> tuple[int, dict[str, Any]]:
    """Return the settings that a job was asked for since event `after`, the later ones winning, and the last event."""
    query = select(JoblogEvent).where(JoblogEvent.job_id == job_id, JoblogEvent.kind == EventKind.SETTINGS_ASKED)
    query = query.where(col(JoblogEvent.id) > after).order_by(col(JoblogEvent.id))
    settings: dict[str, Any] = {}
    for event in db.exec(query).all():
        assert event.id is not None, "stored rows have their key"
        after = event.id
        settings |= event.fields or {}
    return after, settings
