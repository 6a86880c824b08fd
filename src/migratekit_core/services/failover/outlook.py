"""How long a machine would be away if it were cut over now, by what earlier syncs and failovers of it have measured."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import median

from sqlalchemy import Engine
from sqlmodel import col, select

from migratekit_core.common.units import human_bytes, human_rate, human_seconds
from migratekit_core.db.engine import session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.services.assessment.history import WINDOW, Sync, rate_of
from migratekit_core.services.failover.downtime import Usual, usual
from migratekit_core.services.replication.queue import Job
from migratekit_core.services.replication.queue import usual as usual_job
from migratekit_core.services.replication.replica import COMPLETED, INCREMENTAL

SAMPLES = 20
"""Newest syncs that are looked at, of those within WINDOW."""


@dataclass(frozen=True)
class Outlook:
    """The expected downtime; times in seconds, rates in bytes per second. None: nothing was measured yet."""

    total: float | None
    shutdown: float
    final_sync: float | None
    rest: float
    """Moving the volumes to the new machine, starting, booting."""
    changed_per_second: float | None
    copied_per_second: float | None
    since_last_sync: float | None
    basis: tuple[str, ...]
    """What each figure rests on, in sentences for people."""


def look(engine: Engine, vm_uuid: str, vm_name: str, capacity: int, disks: int, now: datetime | None = None) -> Outlook:
    """Return the outlook of a machine whose disks have `capacity` bytes. `now` is UTC without a zone."""
    now = now or utcnow()
    with session(engine) as db:
        query = (
            select(ReplicationJob)
            .where(ReplicationJob.source_vm_id == vm_uuid, ReplicationJob.status == COMPLETED)
            .order_by(col(ReplicationJob.created_at).desc())
            .limit(SAMPLES)
        )
        jobs = [job for job in db.exec(query) if job.started_at is not None and now - job.started_at <= WINDOW]
    known = usual(engine, vm_name)
    basis = [_of_usual(known), _of_queues(usual_job(engine), disks)]
    if not jobs:
        basis.append("no sync of the last 30 days is recorded, so the final sync cannot be foretold")
        return Outlook(None, known.shutdown, None, known.rest, None, None, None, tuple(basis))
    since = _seconds(jobs[0].started_at, now)
    changed, copied = rate_of([_sync(job) for job in reversed(jobs)]), _copy_rate(jobs)
    overhead = _overhead(jobs, copied)
    if changed is None or copied is None:
        basis.append(
            "the change rate is not measured yet: it takes two syncs one after another"
            if changed is None
            else "how fast the copy goes is not measured yet: no sync had anything to copy"
        )
        return Outlook(None, known.shutdown, None, known.rest, changed, copied, since, tuple(basis))
    waiting = min(changed * since, capacity)
    final = overhead + waiting / copied
    basis.append(
        f"about {human_bytes(waiting)} have changed since the last sync {human_seconds(since)} ago "
        f"({human_rate(changed)}, measured over {len(jobs)} syncs), copied at {human_rate(copied)}"
    )
    basis.append(f"a sync takes {human_seconds(overhead)} besides copying, as measured")
    return Outlook(
        known.shutdown + final + known.rest, known.shutdown, final, known.rest, changed, copied, since, tuple(basis)
    )


def _of_usual(known: Usual) -> str:
    return f"shutdown {human_seconds(known.shutdown)}, move and boot {human_seconds(known.rest)}: " + (
        "assumed, no failover or rehearsal was measured yet" if known.assumed else known.basis
    )


def _of_queues(job: Job, disks: int) -> str:
    """Return what CloudStack's jobs take: a queue for the OMA, and one for the new machine beside it."""
    after = f"{disks} detached from the OMA one by one, the last one attached, the start"
    return (
        f"of that CloudStack's jobs take about {human_seconds(job.seconds * (disks + 2))} ({after}; "
        f"{human_seconds(job.seconds)} each, {'as measured' if job.measured else 'as assumed'})"
    )


def _copy_rate(jobs: list[ReplicationJob]) -> float | None:
    """Return the rate at which what changed was brought over, of the syncs that had most to copy."""
    sized = [(job.bytes_transferred, _length(job)) for job in jobs if job.bytes_transferred > 0 and _length(job) > 0]
    if not sized:
        return None
    largest = max(size for size, _ in sized)
    rates = [size / seconds for size, seconds in sized if size >= largest / 2]
    return median(rates)


def _overhead(jobs: list[ReplicationJob], copied: float | None) -> float:
    """Return what a sync takes besides copying: snapshot, exports, areas."""
    rests = [
        max(_length(job) - (job.bytes_transferred / copied if copied else 0.0), 0.0)
        for job in jobs
        if job.replication_type == INCREMENTAL
    ]
    return median(rests) if rests else 0.0


def _sync(job: ReplicationJob) -> Sync:
    assert job.started_at is not None, "those that were not are left out"
    return Sync(job.started_at, job.replication_type, job.total_bytes)


def _length(job: ReplicationJob) -> float:
    return _seconds(job.started_at, job.completed_at)


def _seconds(begin: datetime | None, end: datetime | None) -> float:
    return max((end - begin).total_seconds(), 0.0) if begin and end else 0.0
