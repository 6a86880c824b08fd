"""Deletes what is old from both databases: jobs with steps and events, syncs with their disks, operations of the volume
daemon, CloudStack's jobs, and attempts of waves that came to nothing.

What describes the present stays, however old: the newest sync of each machine and its newest completed one, a sync that
a failover or a checkpoint refers to, the last of each volume, whatever still runs, and the record of each cut-over and
rollback. A lot is one transaction of about LOT_SECONDS, children before their parents: a run that is killed leaves
nothing half, and the next one goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Table, delete, func
from sqlalchemy.orm import aliased
from sqlmodel import Session, SQLModel, col, select

from migratekit_core.db.engine import Databases, session, write
from migratekit_core.db.models.joblog import JoblogEvent, JoblogJob, JoblogProgress, JoblogStep
from migratekit_core.db.models.oma import CloudstackJob, FailoverJob, ReplicationCheckpoint, ReplicationJob, VmDisk
from migratekit_core.db.models.sources import SourceVm
from migratekit_core.db.models.volumes import IdempotencyKey, VolumeOperation
from migratekit_core.db.models.waves import WaveAttempt
from migratekit_core.db.wavestates import BUSY, GIVEN_BACK
from migratekit_core.joblog.states import RUNNING

AUDIT = ("failover", "rollback")
"""Kinds of jobs that are kept with all within them: what was done to machines that earn their living."""
LOT_SECONDS = 0.4
"""How long a transaction is meant to take: others may wait for its rows."""
FIRST, MOST = 2_000, 50_000
"""Rows of the first lot, and of the largest."""
IDS = 2_000
"""Ids in one statement."""


@dataclass(frozen=True)
class Pruned:
    """How many rows are too old, or were."""

    jobs: int = 0
    steps: int = 0
    events: int = 0
    syncs: int = 0
    disks: int = 0
    """Rows of disks within syncs."""
    operations: int = 0
    """Of the volume daemon."""
    cloudstack_jobs: int = 0
    attempts: int = 0
    """Of waves, and given back."""
    kept: int = 0
    """Jobs, within no other, that are as old but not over: they, or something within them, still run or ended later."""
    audit: int = 0
    """Jobs, within no other, that are as old, and kept as the record of a cut-over or a rollback."""

    def plus(self, other: Pruned) -> Pruned:
        """Return the sum."""
        return Pruned(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


def prune(
    databases: Databases, before: datetime, dry_run: bool = False, told: Callable[[Pruned], None] | None = None
) -> Pruned:
    """Delete what ended before a time (UTC), or with `dry_run` only count it. `told` gets the sum after each lot."""
    total = Pruned()
    for part in _parts(databases, before, dry_run):
        total = total.plus(part)
        if told is not None:
            told(total)
    return total


def _parts(databases: Databases, before: datetime, dry_run: bool) -> Iterator[Pruned]:
    oma, volumes = databases.oma, databases.volumes
    over = (col(WaveAttempt.outcome).in_((BUSY, GIVEN_BACK)), col(WaveAttempt.ended_at) < before)
    yield Pruned(attempts=write(oma, lambda db: _rows(db, WaveAttempt, over, dry_run)))
    unfinished, audit = _held(oma, before)
    roots = (col(JoblogJob.parent_job_id).is_(None), col(JoblogJob.started_at) < before)
    yield Pruned(kept=_count(oma, JoblogJob, (*roots, _one_of(JoblogJob, unfinished))))
    yield Pruned(audit=_count(oma, JoblogJob, (*roots, _one_of(JoblogJob, audit - unfinished))))
    held = unfinished | audit
    for table, at, name in (
        (JoblogEvent, col(JoblogEvent.created_at), "events"),
        (JoblogStep, col(JoblogStep.started_at), "steps"),
    ):
        old = (at < before, ~_one_of(table, held))
        for number in _ranges(oma, table, at, before, old, dry_run):
            yield Pruned(**{name: number})
    for number in _jobs(oma, before, held, dry_run):
        yield Pruned(jobs=number)
    for syncs, disks in _syncs(oma, before, dry_run):
        yield Pruned(syncs=syncs, disks=disks)
    ended = (col(CloudstackJob.updated_at) < before, col(CloudstackJob.status).in_(("completed", "failed")))
    for number in _ranges(oma, CloudstackJob, col(CloudstackJob.updated_at), before, ended, dry_run):
        yield Pruned(cloudstack_jobs=number)
    for number in _operations(volumes, before, dry_run):
        yield Pruned(operations=number)


def _held(engine: Engine, before: datetime) -> tuple[set[str], set[str]]:
    """Return the correlation ids of what is kept: what is not over, and the audit. Jobs of one command share theirs."""
    earlier = select(JoblogJob.correlation_id).where(col(JoblogJob.started_at) < before)
    with session(engine) as db:
        unfinished = {
            *db.exec(earlier.where(JoblogJob.status == RUNNING)),
            *db.exec(earlier.where(col(JoblogJob.completed_at) >= before)),
        }
        return unfinished, {*db.exec(earlier.where(col(JoblogJob.kind).in_(AUDIT)))}


def _one_of(table: Any, ids: set[str]) -> ColumnElement[bool]:
    return col(table.correlation_id).in_(sorted(ids))


class _Lots:
    """How large the next lot is: as many rows as the last ones let expect within LOT_SECONDS."""

    def __init__(self) -> None:
        self.size = FIRST

    def took(self, seconds: float) -> None:
        """Take how long a lot took."""
        wanted = self.size * LOT_SECONDS / max(seconds, 0.001)
        self.size = int(min(max(wanted, self.size / 4, 100), self.size * 2, MOST))


def _ranges(
    engine: Engine, table: Any, at: Any, before: datetime, old: Sequence[ColumnElement[bool]], dry_run: bool
) -> Iterator[int]:
    """Yield how many rows of each lot are old, in a table whose ids are given in the order of time.

    A range of ids is one stretch of the table on disk: that is what makes it fast.
    """
    first, end = _bounds(engine, table, at, before)
    lots = _Lots()
    while first < end:
        last, began = min(first + lots.size, end), time.monotonic()
        within = (table.id >= first, table.id < last, *old)
        yield write(engine, lambda db, within=within: _rows(db, table, within, dry_run))  # type: ignore[misc]
        lots.took(time.monotonic() - began)
        first = last


def _bounds(engine: Engine, table: Any, at: Any, before: datetime) -> tuple[int, int]:
    """Return the first id, and one behind the last that may be old: found by halving, for times have no index.

    Writers on several hosts may be out of step by some seconds: the last MOST ids are looked through besides.
    """
    with session(engine) as db:
        low, high = db.execute(select(func.min(table.id), func.max(table.id))).one()
        if low is None:
            return 0, 0
        first, end = low, high + 1
        while low < end:
            middle = (low + end) // 2
            found = db.execute(select(table.id, at).where(table.id >= middle).order_by(table.id).limit(1)).first()
            if found is None or found[1] >= before:
                end = middle
            else:
                low = found[0] + 1
        return first, min(low + MOST, high + 1)


def _jobs(engine: Engine, before: datetime, held: set[str], dry_run: bool) -> Iterator[int]:
    """Yield how many jobs of each lot are old, with how far their things were."""
    old = (col(JoblogJob.started_at) < before, ~_one_of(JoblogJob, held))
    for ids in _by_time(engine, JoblogJob, JoblogJob.started_at, old):
        if dry_run:
            yield len(ids)
            continue

        def change(db: Session, ids: list[str] = ids) -> int:
            # Somebody may have noted something of an old job meanwhile.
            steps = select(JoblogStep.id).where(col(JoblogStep.job_id) == JoblogJob.id).exists()
            events = select(JoblogEvent.id).where(col(JoblogEvent.job_id) == JoblogJob.id).exists()
            free = list(db.exec(select(JoblogJob.id).where(col(JoblogJob.id).in_(ids), ~steps, ~events)))
            db.execute(delete(JoblogProgress).where(col(JoblogProgress.job_id).in_(free)))
            return _rows(db, JoblogJob, (col(JoblogJob.id).in_(free),), False)

        yield write(engine, change)


def _syncs(engine: Engine, before: datetime, dry_run: bool) -> Iterator[tuple[int, int]]:
    """Yield how many syncs of each lot are old, and how many disks they have."""
    job = col(ReplicationJob.id)
    mine, later = aliased(VmDisk), aliased(VmDisk)
    same = col(later.ossea_volume_id) == col(mine.ossea_volume_id)
    newer = select(later.id).where(same, col(later.id) > col(mine.id)).exists()
    old = (
        col(ReplicationJob.created_at) < before,
        col(ReplicationJob.status) != RUNNING,
        ~select(SourceVm.vm_id).where(col(SourceVm.newest_job_id) == job).exists(),
        ~select(SourceVm.vm_id).where(col(SourceVm.completed_job_id) == job).exists(),
        ~select(FailoverJob.id).where(col(FailoverJob.replication_job_id) == job).exists(),
        ~select(ReplicationCheckpoint.volume_id).where(col(ReplicationCheckpoint.job_id) == job).exists(),
        # The last that is known of a volume: of a disk that was removed or replaced, it is all that tells whose it was.
        ~select(mine.id).where(mine.job_id == job, col(mine.ossea_volume_id).is_not(None), ~newer).exists(),
    )
    for ids in _by_time(engine, ReplicationJob, ReplicationJob.created_at, old):

        def change(db: Session, ids: list[str] = ids) -> tuple[int, int]:
            # Asked once more: a failover may have begun with one of them meanwhile.
            query = select(ReplicationJob.id).where(job.in_(ids), *old)
            free = list(db.exec(query if dry_run else query.with_for_update()))
            disks = _rows(db, VmDisk, (col(VmDisk.job_id).in_(free),), dry_run)
            return _rows(db, ReplicationJob, (job.in_(free),), dry_run), disks

        yield write(engine, change)


def _operations(engine: Engine, before: datetime, dry_run: bool) -> Iterator[int]:
    """Yield how many operations of the volume daemon of each lot are old."""
    old = (col(VolumeOperation.completed_at) < before,)
    for ids in _by_time(engine, VolumeOperation, VolumeOperation.completed_at, old):

        def change(db: Session, ids: list[str] = ids) -> int:
            # Asked once more: one that is run again has no end any more, and its key stays, too.
            query = select(VolumeOperation.id).where(col(VolumeOperation.id).in_(ids), *old)
            free = list(db.exec(query if dry_run else query.with_for_update()))
            _rows(db, IdempotencyKey, (col(IdempotencyKey.operation_id).in_(free),), dry_run)
            return _rows(db, VolumeOperation, (col(VolumeOperation.id).in_(free),), dry_run)

        yield write(engine, change)


def _by_time(engine: Engine, table: Any, at: Any, old: Sequence[ColumnElement[bool]]) -> Iterator[list[str]]:
    """Yield ids of rows that are old, in lots, by an index on `at`."""
    lots, after = _Lots(), None
    while True:
        query = select(table.id, at).where(*old).order_by(at, table.id).limit(min(lots.size, IDS))
        if after is not None:
            # The last time once more: several rows may share it.
            query = query.where(at >= after[0], (at > after[0]) | (table.id > after[1]))
        began = time.monotonic()
        with session(engine) as db:
            found = db.execute(query).all()
        if not found:
            return
        yield [row[0] for row in found]
        lots.took(time.monotonic() - began)
        after = (found[-1][1], found[-1][0])


def _rows(db: Session, table: Any, which: Sequence[Any], dry_run: bool) -> int:
    """Delete rows, or with `dry_run` count them; return how many."""
    if dry_run:
        return int(db.execute(select(func.count()).select_from(table).where(*which)).scalar_one())
    mapped: Table = table.__table__
    return int(db.connection().execute(delete(mapped).where(*which)).rowcount)


def _count(engine: Engine, table: type[SQLModel], which: Sequence[Any]) -> int:
    with session(engine) as db:
        return _rows(db, table, which, True)
