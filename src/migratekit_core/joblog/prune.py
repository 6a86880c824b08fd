"""Deletes what is old from the joblog: whole jobs, with everything within them, once all of it has ended.

With them go the attempts of waves that came to nothing (somebody else had the machine): there may be one each minute.
The rows of replications and failovers stay: they describe replicas and machines, not history.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import Engine, delete, func
from sqlmodel import Session, col, select

from migratekit_core.db.engine import session, write
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogProgress, JoblogStep
from migratekit_core.db.models.waves import WaveAttempt
from migratekit_core.db.wavestates import BUSY, GIVEN_BACK
from migratekit_core.joblog.search import descendants, lots
from migratekit_core.joblog.states import RUNNING

LOT = 100
"""Jobs (with all within them) of one transaction: nobody waits for long."""


@dataclass(frozen=True)
class Pruned:
    """How many rows are too old, or were."""

    jobs: int = 0
    steps: int = 0
    events: int = 0
    kept: int = 0
    """Jobs that are as old, but not over: they, or something within them, still run."""
    attempts: int = 0
    """Of waves, and given back."""

    def plus(self, other: Pruned) -> Pruned:
        """Return the sum."""
        return Pruned(
            self.jobs + other.jobs, self.steps + other.steps, self.events + other.events, self.kept + other.kept
        )


def prune(engine: Engine, before: datetime, dry_run: bool = False) -> Pruned:
    """Delete the jobs that ended before a time (UTC), or with `dry_run` only count them."""
    total = Pruned()
    after = ""
    while True:
        roots = _roots(engine, before, after)
        if not roots:
            return replace(total, attempts=write(engine, lambda db: _attempts(db, before, dry_run)))
        after = roots[-1]
        done = write(engine, lambda db, roots=roots: _lot(db, roots, before, dry_run))  # type: ignore[misc]
        total = total.plus(done)


def _attempts(db: Session, before: datetime, dry_run: bool) -> int:
    old = (col(WaveAttempt.outcome).in_((BUSY, GIVEN_BACK)), col(WaveAttempt.ended_at) < before)
    number = db.exec(select(func.count()).select_from(WaveAttempt).where(*old)).one()
    if number and not dry_run:
        db.execute(delete(WaveAttempt).where(*old))
    return number


def _roots(engine: Engine, before: datetime, after: str) -> list[str]:
    """Return ids of jobs that began before a time and are within none that is still there, in the order of ids."""
    outer = select(JoblogJob.id)
    query = select(JoblogJob.id).where(JoblogJob.started_at < before, JoblogJob.id > after)
    query = query.where(col(JoblogJob.parent_job_id).is_(None) | col(JoblogJob.parent_job_id).not_in(outer))
    with session(engine) as db:
        return list(db.exec(query.order_by(col(JoblogJob.id)).limit(LOT)).all())


def _lot(db: Session, roots: list[str], before: datetime, dry_run: bool) -> Pruned:
    inner: dict[str, list[JoblogJob]] = {root: [] for root in roots}
    owner = {root: root for root in roots}
    rows = list(db.exec(select(JoblogJob).where(col(JoblogJob.id).in_(roots))).all())
    for row in descendants(db, roots):
        owner[row.id] = owner[str(row.parent_job_id)]
        rows.append(row)
    for row in rows:
        inner[owner[row.id]].append(row)
    over = {root: held for root, held in inner.items() if held and all(_over(row, before) for row in held)}
    ids = [row.id for held in over.values() for row in held]
    steps = events = 0
    for lot in lots(ids):
        steps += _count(db, JoblogStep, lot)
        events += _count(db, JoblogEvent, lot)
        if not dry_run:
            for table in (JoblogEvent, JoblogStep, JoblogProgress):
                db.execute(delete(table).where(table.job_id.in_(lot)))  # type: ignore[attr-defined]
            db.execute(delete(JoblogJob).where(col(JoblogJob.id).in_(lot)))
    return Pruned(len(ids), steps, events, len([1 for root, held in inner.items() if held and root not in over]))


def _over(row: JoblogJob, before: datetime) -> bool:
    return row.status != RUNNING and (row.completed_at or row.started_at) < before


def _count(db: Session, table: type[JoblogStep] | type[JoblogEvent], ids: list[str]) -> int:
    query = select(func.count()).select_from(table).where(col(table.job_id).in_(ids))
    return db.exec(query).one()
