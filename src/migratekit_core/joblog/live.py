"""What runs now, as the database knows it: jobs, the step each is in, and how far their disks are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogProgress, JoblogStep
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.search import descendants, first_event, lots
from migratekit_core.joblog.states import RUNNING


@dataclass(frozen=True)
class LiveItem:
    """How far a job is with one thing, a disk mostly; bytes, and bytes per second."""

    name: str
    done: int
    total: int
    rate: int
    updated_at: datetime

    @property
    def seconds_left(self) -> float | None:
        """Return for how long it goes on at this rate; None where nobody knows."""
        if self.done >= self.total:
            return 0.0
        return (self.total - self.done) / self.rate if self.rate else None


@dataclass(frozen=True)
class LiveJob:
    """A job that runs, or one that was asked for by its id and has ended."""

    id: str
    kind: str
    owner: str
    status: str
    host: str
    started_at: datetime
    seconds: float
    """For how long it has been running, or ran."""
    steps: tuple[str, ...]
    """The steps it is in, from its own to those of the jobs within it."""
    items: tuple[LiveItem, ...]
    asked_to_stop: bool
    error: str
    waiting: str = ""
    """What a step of it waits for at the source: a task of vSphere's, or an answer to what the machine asks."""

    @property
    def done(self) -> int:
        """Return bytes done of all items."""
        return sum(item.done for item in self.items)

    @property
    def total(self) -> int:
        """Return bytes of all items."""
        return sum(item.total for item in self.items)

    @property
    def rate(self) -> int:
        """Return bytes per second of the items that are not done."""
        return sum(item.rate for item in self.items if item.done < item.total)

    @property
    def seconds_left(self) -> float | None:
        """Return for how long the slowest of the items goes on; None where nobody knows."""
        left = [item.seconds_left for item in self.items]
        known = [seconds for seconds in left if seconds is not None]
        return max(known) if known and len(known) == len(left) else None


@dataclass(frozen=True)
class Snapshot:
    """What runs at one time."""

    at: datetime
    jobs: tuple[LiveJob, ...]

    @property
    def rate(self) -> int:
        """Return bytes per second of everything."""
        return sum(job.rate for job in self.jobs)


def snapshot(engine: Engine, ids: tuple[str, ...] = (), owners: tuple[str, ...] = ()) -> Snapshot:
    """Return the jobs that run and are within no other, the oldest first; or those with these ids, running or not."""
    query = select(JoblogJob).order_by(col(JoblogJob.started_at))
    query = query.where(col(JoblogJob.id).in_(ids)) if ids else query.where(
        JoblogJob.status == RUNNING, col(JoblogJob.parent_job_id).is_(None)
    )  # fmt: skip
    if owners:
        query = query.where(col(JoblogJob.owner).in_(owners))
    now = utcnow()
    with session(engine) as db:
        return Snapshot(now, tuple(_job(db, row, now) for row in db.exec(query).all()))


def _job(db: Session, row: JoblogJob, now: datetime) -> LiveJob:
    within = descendants(db, [row.id])
    ids = [row.id, *(job.id for job in within)]
    depth = {job_id: number for number, job_id in enumerate(ids)}
    steps: list[JoblogStep] = []
    items: list[JoblogProgress] = []
    asked = False
    for lot in lots(ids):
        running = select(JoblogStep).where(col(JoblogStep.job_id).in_(lot), JoblogStep.status == RUNNING)
        steps += db.exec(running.order_by(col(JoblogStep.id))).all()
        items += db.exec(select(JoblogProgress).where(col(JoblogProgress.job_id).in_(lot))).all()
        asked = asked or first_event(db, lot, EventKind.STOP_ASKED) is not None
    steps.sort(key=lambda step: depth[step.job_id])
    items.sort(key=lambda item: (depth[item.job_id], item.item))
    return LiveJob(
        id=row.id,
        kind=row.kind,
        owner=row.owner,
        status=row.status,
        host=row.host,
        started_at=row.started_at,
        seconds=((row.completed_at or now) - row.started_at).total_seconds(),
        steps=tuple(step.name for step in steps),
        items=tuple(LiveItem(item.item, item.done, item.total, item.rate, item.updated_at) for item in items),
        asked_to_stop=asked,
        error=row.error_message or "",
        waiting=_waiting(db, steps),
    )


def _waiting(db: Session, steps: list[JoblogStep]) -> str:
    """Return what these steps, which run, have last said that they wait for."""
    query = (
        select(JoblogEvent)
        .where(col(JoblogEvent.step_id).in_([step.id for step in steps]))
        .where(col(JoblogEvent.kind).in_((EventKind.SOURCE_TASK_RUNS, EventKind.SOURCE_ASKS)))
        .order_by(col(JoblogEvent.id).desc())
    )
    found = db.exec(query).first() if steps else None
    if found is None:
        return ""
    fields = found.fields or {}
    if found.kind == EventKind.SOURCE_ASKS:
        return f"the machine asks in vCenter: {fields.get('question', '')}"
    progress = fields.get("progress")
    return f"vSphere works: {fields.get('task', '')}" + ("" if progress is None else f", {progress} %")
