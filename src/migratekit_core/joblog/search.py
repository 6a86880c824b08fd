"""Finds jobs: by what they are about, what they are, how they ended and when they began; and what is within a job."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.units import parse_duration
from migratekit_core.db.engine import session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogStep
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.listing import Filter, narrowed
from migratekit_core.joblog.process import started, this_process
from migratekit_core.joblog.states import RUNNING, STATES

AT_ONCE = 500
"""Ids in one query: SQLite takes no more than about a thousand."""


@dataclass(frozen=True)
class Found:
    """A job with all that was recorded of it; `within` are the jobs in it, in their order."""

    job: JoblogJob
    steps: tuple[JoblogStep, ...]
    events: tuple[JoblogEvent, ...]
    within: tuple[Found, ...]

    def tree(self) -> list[Found]:
        """Return this one and everything within it, the outer before the inner."""
        return [self, *(one for child in self.within for one in child.tree())]


def running(db: Session, job_ids: Iterable[str]) -> set[str]:
    """Return those of the jobs that run. One of this host whose process is gone does not, marked or not."""
    host, _, _ = this_process()
    query = select(JoblogJob).where(col(JoblogJob.id).in_(list(job_ids)), JoblogJob.status == RUNNING)
    return {row.id for row in db.exec(query).all() if row.host != host or started(row.pid) == row.process_started}


def parse_since(text: str) -> datetime:
    """Return a time in UTC: `2h` is two hours ago, `2026-11-24` or `2026-11-24T08:30` is in local time (or in that of
    its offset). Raises ValueError, saying what is allowed, for anything else."""
    try:
        return utcnow() - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no time: 90m, 2h, 7d, 2026-11-24 or 2026-11-24T08:30") from None
    # One without an offset is in local time.
    return then.astimezone(UTC).replace(tzinfo=None)


def check_status(text: str) -> str:
    """Return a status. Raises ValueError, naming all, for another word."""
    if text not in STATES:
        raise ValueError(f"{text!r} is no status: {', '.join(STATES)}")
    return text


def first_event(db: Session, job_ids: Sequence[str], kind: EventKind) -> JoblogEvent | None:
    """Return the first event of a kind in these jobs; None where there is none."""
    query = select(JoblogEvent).where(col(JoblogEvent.job_id).in_(job_ids), JoblogEvent.kind == kind)
    return db.exec(query.order_by(col(JoblogEvent.id))).first()


def find(engine: Engine, wanted: Filter) -> list[JoblogJob]:
    """Return the jobs that fit, the newest first."""
    with session(engine) as db:
        return narrowed(select(JoblogJob), JoblogJob, wanted, db.exec)


def trees(engine: Engine, jobs: Iterable[JoblogJob]) -> list[Found]:
    """Return jobs with everything recorded of them and of the jobs within them."""
    with session(engine) as db:
        wanted = list(jobs)
        rows = {job.id: job for job in wanted}
        rows |= {job.id: job for job in descendants(db, list(rows))}
        steps = _grouped(db, JoblogStep, list(rows))
        events = _grouped(db, JoblogEvent, list(rows))
    children: dict[str, list[JoblogJob]] = {}
    for row in sorted(rows.values(), key=lambda job: job.started_at):
        if row.parent_job_id is not None:
            children.setdefault(row.parent_job_id, []).append(row)

    def build(job: JoblogJob) -> Found:
        ordered = sorted(steps.get(job.id, ()), key=lambda step: step.sequence)
        inner = tuple(build(child) for child in children.get(job.id, ()))
        return Found(job, tuple(ordered), tuple(events.get(job.id, ())), inner)

    return [build(job) for job in wanted]


def descendants(db: Session, ids: list[str]) -> list[JoblogJob]:
    """Return all jobs within these, however deep."""
    found: list[JoblogJob] = []
    level = ids
    while level:
        inner: list[JoblogJob] = []
        for lot in lots(level):
            inner += db.exec(select(JoblogJob).where(col(JoblogJob.parent_job_id).in_(lot))).all()
        found += inner
        level = [job.id for job in inner]
    return found


def lots(ids: list[str]) -> Iterable[list[str]]:
    """Yield ids in lots that fit into a query."""
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]


def _grouped(db: Session, table: Any, ids: list[str]) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {}
    for lot in lots(ids):
        for row in db.exec(select(table).where(table.job_id.in_(lot)).order_by(table.id)).all():
            rows.setdefault(row.job_id, []).append(row)
    return rows
