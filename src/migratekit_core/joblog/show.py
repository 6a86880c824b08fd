"""Finds a job by its id, or by how the id begins, with everything that was recorded of it."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogStep
from migratekit_core.joblog.search import Found, trees
from migratekit_core.joblog.tracker import Tracker


@dataclass(frozen=True)
class Details:
    """A job with its steps and events."""

    job: JoblogJob
    steps: list[JoblogStep]
    events: list[JoblogEvent]
    children: list[JoblogJob]
    """Jobs within this one, in their order; the volume daemon's among them."""


def one(tracker: Tracker, beginning: str) -> JoblogJob:
    """Return the job whose id begins so. Raises PreconditionError unless exactly one does."""
    found = tracker.jobs(beginning=beginning)
    if len(found) != 1:
        problem = "none does" if not found else f"{len(found)} do"
        raise PreconditionError(
            f"no single job begins with {beginning!r}",
            problem,
            hint("look with: ", migratekit("jobs", "list")),
            code=ErrorCode.AMBIGUOUS if found else ErrorCode.JOB_NOT_FOUND,
            facts={"beginning": beginning, "found": len(found)},
        )
    return found[0]


def tree(tracker: Tracker, beginning: str) -> Found:
    """Return the job whose id begins so, with all that is within it. Raises PreconditionError as `one` does."""
    return trees(tracker.engine, [one(tracker, beginning)])[0]


def details(tracker: Tracker, beginning: str) -> Details:
    """Return the job whose id begins so. Raises PreconditionError unless exactly one does."""
    found = tree(tracker, beginning)
    return Details(found.job, list(found.steps), list(found.events), [inner.job for inner in found.within])
