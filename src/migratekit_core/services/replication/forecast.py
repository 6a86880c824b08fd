"""What a snapshot's delta will take of the source's datastores until the copy is done, by what was measured before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.adapters.vsphere.space import Room
from migratekit_core.common.units import human_bytes, human_rate, human_seconds
from migratekit_core.config.source import Source
from migratekit_core.context import Runtime
from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import ReplicationJob, VmDisk
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.replication.replica import COMPLETED, INCREMENTAL
from migratekit_core.services.replication.room import least, readable

SAMPLES = 20
"""Newest syncs that are looked at."""


@dataclass(frozen=True)
class Pace:
    """What earlier syncs have measured, bytes per second; None: nothing yet."""

    changed: float | None
    """Of the machine's disks."""
    copied: float | None
    """By the machine's syncs; before its first one by those of others."""
    since: float = 0.0
    """Seconds since the machine's newest sync began: what changed meanwhile is to be copied."""


def pace(engine: Engine, vm_uuid: str) -> Pace:
    """Return how fast a machine's disks change and are copied."""

    def newest(db: Session, *conditions: object) -> list[ReplicationJob]:
        query = select(ReplicationJob).where(ReplicationJob.status == COMPLETED, *conditions)  # type: ignore[arg-type]
        return list(db.exec(query.order_by(col(ReplicationJob.created_at).desc()).limit(SAMPLES)).all())

    def look(db: Session) -> Pace:
        mine = newest(db, ReplicationJob.source_vm_id == vm_uuid)
        copied = _copied(mine)
        return Pace(_changed(mine), copied if copied is not None else _copied(newest(db)), _since(mine))

    return write(engine, look)


@dataclass(frozen=True)
class Forecast:
    """What is to be said of the source's datastores before a copy."""

    lines: tuple[str, ...] = ()
    """For people; none where nothing is short and nothing was measured."""
    short: bool = False
    """Whether a datastore has, or will have, less free space than `source.min_free`."""


def tell(runtime: Runtime, job: Job, vm: VirtualMachine, managed: Any, known: dict[int, VmDisk]) -> None:
    """Say what the snapshot will take of the source's datastores; while it is open they are looked after."""
    found = of_sync(runtime.databases.oma, runtime.config.source, vm, known, readable(managed, vm))
    for line in found.lines:
        job.log(EventKind.SPACE_FORETOLD, level="warning" if found.short else "info", text=line)
        if found.short:
            runtime.observer.note(line)


def of_sync(
    engine: Engine, settings: Source, vm: VirtualMachine, known: dict[int, VmDisk], rooms: Sequence[Room]
) -> Forecast:
    """Return what is to be expected of a machine's next sync; `known`: what is recorded of its disks.

    What has to be read is taken to be the whole of each disk without a complete replica, and of the others what has
    changed, at the usual rate, since the newest sync.
    """
    whole, rest = 0, 0
    for disk in vm.disks:
        row = known.get(disk.key)
        if row is None or row.disk_change_id is None:
            whole += disk.capacity_bytes
        else:
            rest += disk.capacity_bytes
    return foretold(settings, rooms, pace(engine, vm.uuid), whole, rest)


def foretold(settings: Source, rooms: Sequence[Room], measured: Pace, whole: int, rest: int = 0) -> Forecast:
    """Return what will be free when `whole` bytes are copied, and what changed of `rest` bytes of other disks.

    Where nothing is measured, what is free now counts. Of a sync of changes alone, only what is short is told.
    """
    lines, short = [], False
    size = whole + min(rest, (measured.changed or 0.0) * measured.since)
    seconds = size / measured.copied if measured.copied else 0.0
    grows = (measured.changed or 0.0) * seconds
    for room in rooms:
        wanted = least(settings, room)
        low = room.free - grows < wanted
        short = short or low
        if not low and not (whole and grows):
            continue
        basis = "how fast the snapshot grows is not measured yet"
        if measured.changed is not None and measured.copied:
            basis = (
                f"the snapshot grows by about {human_bytes(grows)} in {human_seconds(seconds)} "
                f"({human_rate(measured.changed)} change, {human_rate(measured.copied)} are copied)"
            )
        ends = f"; below {human_bytes(wanted)} (source.min_free) the copy stops at a checkpoint" if low else ""
        lines.append(f"datastore {room.name}: {human_bytes(room.free)} free, {basis}{ends}")
    return Forecast(tuple(lines), short)


def _changed(jobs: list[ReplicationJob]) -> float | None:
    """Return what changed per second between the oldest and the newest of these syncs, which come newest first."""
    starts = [job.started_at for job in jobs if job.started_at is not None]
    seconds = (starts[0] - starts[-1]).total_seconds() if len(starts) > 1 else 0.0
    if seconds <= 0:
        return None
    # What the oldest one copied had changed before it began.
    return sum(job.total_bytes for job in jobs[:-1] if job.replication_type == INCREMENTAL) / seconds


def _since(jobs: list[ReplicationJob]) -> float:
    """Return how many seconds ago the newest of these syncs began; 0 where there is none."""
    newest = next((job.started_at for job in jobs if job.started_at is not None), None)
    return max(0.0, (utcnow() - newest).total_seconds()) if newest is not None else 0.0


def _copied(jobs: list[ReplicationJob]) -> float | None:
    rates = [
        job.bytes_transferred / seconds
        for job in jobs
        if job.started_at and job.completed_at and job.bytes_transferred
        if (seconds := (job.completed_at - job.started_at).total_seconds()) > 0
    ]
    return median(rates) if rates else None
