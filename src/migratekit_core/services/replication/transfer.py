"""Copies the disks of a snapshot into their volumes: areas from vSphere, bytes by the engine, change ids at the end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sqlmodel import Session

from migratekit_core.adapters.readers import readers
from migratekit_core.adapters.readers.model import Snapshot
from migratekit_core.adapters.vsphere import cbt
from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine
from migratekit_core.common.units import human_bytes
from migratekit_core.context import Runtime
from migratekit_core.db.engine import write
from migratekit_core.db.locks import Lock
from migratekit_core.db.models.oma import ReplicationCheckpoint, VmDisk
from migratekit_core.engine.bandwidth import Bandwidth, Limits
from migratekit_core.engine.digests.blocks import block_size_for
from migratekit_core.engine.digests.process import hasher
from migratekit_core.engine.job import Checkpoint, Done, Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from migratekit_core.joblog import Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.gauge import Gauge
from migratekit_core.services.replication.board import Board
from migratekit_core.services.replication.compare import Meter, compare
from migratekit_core.services.replication.frozen import still_frozen
from migratekit_core.services.replication.parallel import each_disk
from migratekit_core.services.replication.plan import DiskPlan
from migratekit_core.services.replication.replica import COMPLETED, FAILED, RUNNING
from migratekit_core.services.replication.room import guarded


@dataclass(frozen=True)
class DiskWork:
    """One disk to copy."""

    disk: Disk
    row_id: int
    volume_id: str
    export: str
    plan: DiskPlan


@dataclass(frozen=True)
class Copied:
    """What was done for one disk; all sizes in bytes."""

    label: str
    full: bool
    reason: str
    changed: int
    """What vSphere named as allocated (full) or changed (incremental)."""
    read: int
    moved: int
    """What crossed the tunnel as data."""
    seconds: float
    compared: bool = False
    """Whether digests told what to copy."""


@dataclass(frozen=True)
class Run:
    """What the disks of one sync have in common."""

    runtime: Runtime
    lock: Lock
    step: Step
    vm: VirtualMachine
    managed: Any
    snapshot: Any
    engines: Engines = field(default_factory=Engines)
    bandwidth: Bandwidth = field(default_factory=lambda: Bandwidth(Limits()))
    gauge: Gauge = field(default_factory=Gauge)
    asking: threading.Lock = field(default_factory=threading.Lock)
    """pyVmomi's connection is one, and so is the lock's: both are used by one disk after the other."""

    def open(self, disk: Disk) -> AbstractContextManager[str]:
        """Serve a disk of the snapshot as long as the block runs: an NBD URI."""
        snapshot = Snapshot(self.vm, self.snapshot._moId, self._session)
        return readers.open_disk(self.runtime.config, snapshot, disk, self.runtime.observer.note, self.engines.stopped)

    @contextmanager
    def _session(self) -> Iterator[Any]:
        with self.asking:
            yield self.managed

    def areas(self, disk: Disk, change_id: str) -> list[tuple[int, int]]:
        """Return what changed on a disk between `change_id` and the snapshot."""
        with self.asking:
            found = cbt.changed_areas(self.managed, self.snapshot, disk.key, disk.capacity_bytes, change_id)
            return [(area.offset, area.length) for area in found]

    def allocated(self, disk: Disk) -> list[tuple[int, int]]:
        """Return where a disk of the snapshot may hold anything but zeros: the whole of it where vSphere cannot tell,
        and holes are found by reading."""
        with self.asking:
            found = cbt.allocated(self.managed, self.snapshot, disk.key, disk.capacity_bytes)
        if found is None:
            self.step.log(EventKind.ALLOCATION_UNKNOWN, level="warning", disk=disk.label)
            return [(0, disk.capacity_bytes)]
        return [(area.offset, area.length) for area in found]

    def show(self, item: str, progress: Progress) -> None:
        """Tell whoever watches, here or elsewhere, how far something is."""
        self.runtime.observer.progress(item, progress)
        self.gauge.update(self.step.job, item, progress.done, progress.total, progress.rate)


@dataclass(frozen=True)
class _Task:
    """What to copy of a disk, decided."""

    full: bool
    """Whether what lies outside `wanted` reads as zeros on the source, and has to on the target."""
    reason: str
    wanted: list[tuple[int, int]]
    since: list[tuple[int, int]]
    """What changed since the snapshot of an interrupted copy."""
    position: int
    """How far that got."""


def copy_disks(run: Run, work: list[DiskWork]) -> list[Copied]:
    """Copy all disks, several at a time, and commit each one's change id when it is complete and flushed.

    The first error stops the others, which leave checkpoints behind. Raises that error, KeyboardInterrupt,
    CancelledError where somebody asked the job to stop, or PreconditionError where a datastore fills up.
    """
    run.runtime.observer.expect([item.disk.label for item in work])
    board = Board(run.runtime, run.step, run.bandwidth)

    def one(item: DiskWork) -> Copied:
        try:
            return _copy_disk(run, item, board)
        except BaseException:
            _set_status(run.runtime, item, FAILED)
            raise

    with guarded(run.runtime.config.source, run.step, run.vm, run.managed, run.engines):
        return each_disk(work, one, run.engines, run.step.job)


def _copy_disk(run: Run, item: DiskWork, board: Board) -> Copied:
    disk, runtime, step = item.disk, run.runtime, run.step
    with run.open(disk) as source:
        task = _compared(run, item, source) if item.plan.compare else _asked(run, item)
        changed = sum(length for _, length in task.wanted)
        step.log(
            EventKind.DISK_PLANNED,
            disk=disk.label,
            full=task.full,
            reason=task.reason,
            areas=len(task.wanted),
            bytes=changed,
            resume_at=task.position,
        )
        if _afresh(item, task) and not task.position:
            # From here on the volume is nothing: neither its old content nor the new one.
            _forget_content(run, item)
        _set_status(runtime, item, RUNNING)
        results = list(_engine_runs(run, item, task, source, board))
    read, moved = sum(done.read for done in results), sum(done.written for done in results)
    seconds = sum(done.seconds for done in results)
    # The database's locks are one connection's, which the disks' threads must not use at once.
    with run.asking:
        run.lock.ensure()
        still_frozen(run.managed, run.snapshot, f"{run.vm.name} {disk.label}")
    _commit(run, item, moved)
    step.log(EventKind.DISK_COPIED, disk=disk.label, full=task.full, read=read, moved=moved, seconds=round(seconds, 3))
    runtime.observer.note(f"{disk.label}: {human_bytes(moved)} moved of {human_bytes(changed)} ({task.reason})")
    return Copied(disk.label, task.full, task.reason, changed, read, moved, seconds, item.plan.compare)


def _asked(run: Run, item: DiskWork) -> _Task:
    """Ask vSphere what to copy."""
    plan, disk = item.plan, item.disk
    try:
        wanted = run.allocated(disk) if plan.base == cbt.EVERYTHING else run.areas(disk, plan.base)
        since = run.areas(disk, plan.resume.change_id) if plan.resume else []
        return _Task(plan.full, plan.reason, wanted, since, plan.resume.position if plan.resume else 0)
    except cbt.EpochLostError as error:
        run.step.log(EventKind.CHANGES_UNKNOWN, level="warning", disk=disk.label, reason=error.why)
        # What the volume holds is known no longer, so a checkpoint has to say that everything is being copied.
        reason = "vSphere does not know the last change id any more"
        return _Task(True, reason, run.allocated(disk), [], 0)


def _compared(run: Run, item: DiskWork, source: str) -> _Task:
    """Compare the disk with its volume by digests: what differs is what to copy."""
    disk, plan = item.disk, item.plan
    allocated = run.allocated(disk)
    volumes = run.runtime.volumes(run.step.job)
    name, meter = f"{run.vm.name} {disk.label}", Meter(disk.capacity_bytes)
    request_size = run.runtime.config.replication.request_size
    try:
        with hasher(name, source, disk.capacity_bytes, request_size, run.engines) as hashing:
            found = compare(
                hashing,
                volumes,
                item.volume_id,
                [(0, disk.capacity_bytes)],
                allocated,
                block_size_for(disk.capacity_bytes),
                lambda done: run.show(f"{disk.label} (compare)", meter.progress(done)),
            )
    finally:
        volumes.close()
    run.step.log(
        EventKind.DISK_DIFFERENCES, disk=disk.label, bytes=found.compared, read=found.read, differ=found.differing
    )
    differ = f"{human_bytes(found.differing)} of {human_bytes(found.compared)} differ"
    return _Task(False, f"{plan.reason}; compared: {differ}", found.different, [], 0)


def _afresh(item: DiskWork, task: _Task) -> bool:
    """Return whether what is recorded of the volume's content is of no use: it is copied, or compared, as a whole."""
    return item.plan.full or task.full


def _engine_runs(run: Run, item: DiskWork, task: _Task, source: str, board: Board) -> Iterator[Done]:
    """Copy what the task says into the volume, in one run of the engine or two."""
    runtime, disk = run.runtime, item.disk
    settings = runtime.config.replication

    def observe(event: Event) -> None:
        if isinstance(event, Progress):
            run.show(disk.label, event)
            board.update(disk.label, event)
        elif isinstance(event, Checkpoint):
            _store_checkpoint(run, item, _afresh(item, task), event.position)

    def engine(start: int, full: bool, areas: Iterable[tuple[int, int]], tell: Callable[[Event], None]) -> Done:
        job = Job(
            disk=f"{run.vm.name} {disk.label}",
            source=source,
            target=runtime.nbd_uri(item.export),
            size=disk.capacity_bytes,
            full=full,
            start=start,
            connections=settings.connections,
            request_size=settings.request_size,
            window=settings.window,
            gate=runtime.gate(item.export),
            rate=run.bandwidth.join(disk.label),
        )
        try:
            return copy(job, areas, tell, run.engines, partial(run.bandwidth.listen, disk.label))
        finally:
            run.bandwidth.leave(disk.label)

    if task.since:
        # Below the checkpoint only what changed since the interrupted copy's snapshot is missing.
        yield engine(0, False, list(_below(task.since, task.position)), lambda event: None)
    yield engine(task.position, task.full, task.wanted, observe)
    if item.plan.compare and item.plan.full:
        # Nothing is known of the volume, and it is longer than the disk: what lies behind is zeroed, as by a full copy.
        yield engine(disk.capacity_bytes, True, [], lambda event: None)


def _below(areas: list[tuple[int, int]], position: int) -> Iterator[tuple[int, int]]:
    for offset, length in areas:
        if offset < position:
            yield offset, min(length, position - offset)


def _forget_content(run: Run, item: DiskWork) -> None:
    def change(db: Session) -> None:
        run.lock.confirm(db)
        _row(db, item).disk_change_id = None
        _drop_checkpoint(db, item)

    write(run.runtime.databases.oma, change)


def _store_checkpoint(run: Run, item: DiskWork, full: bool, position: int) -> None:
    assert item.disk.change_id is not None, "the plan has seen to it"
    snapshot_change_id = item.disk.change_id

    def change(db: Session) -> None:
        run.lock.confirm(db)
        db.merge(
            ReplicationCheckpoint(
                volume_id=item.volume_id,
                job_id=run.step.job.id,
                base_change_id=None if full else item.plan.base,
                snapshot_change_id=snapshot_change_id,
                position=position,
            )
        )

    write(run.runtime.databases.oma, change)


def _commit(run: Run, item: DiskWork, moved: int) -> None:
    """Say that the volume holds the snapshot's content: the engine has flushed, so from now on it does.

    As with checkpoints the same transaction looks whether the lock is still this run's: who has it meanwhile may have
    changed the volume.
    """

    def change(db: Session) -> None:
        run.lock.confirm(db)
        row = _row(db, item)
        row.disk_change_id, row.sync_status = item.disk.change_id, COMPLETED
        row.sync_progress_percent, row.bytes_synced = 100.0, moved
        _drop_checkpoint(db, item)

    write(run.runtime.databases.oma, change)


def _set_status(runtime: Runtime, item: DiskWork, status: str) -> None:
    def change(db: Session) -> None:
        _row(db, item).sync_status = status

    write(runtime.databases.oma, change)


def _row(db: Session, item: DiskWork) -> VmDisk:
    row = db.get(VmDisk, item.row_id)
    assert row is not None, "the sync made its row before it copied"
    return row


def _drop_checkpoint(db: Session, item: DiskWork) -> None:
    left = db.get(ReplicationCheckpoint, item.volume_id)
    if left is not None:
        db.delete(left)
