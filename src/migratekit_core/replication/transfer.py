"""Copies the disks of a snapshot into their volumes: areas from vSphere, bytes by the engine, change ids at the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from migratekit_core.db.engine import write
from migratekit_core.db.locks import Lock
from migratekit_core.engine.job import Checkpoint, Done, Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from migratekit_core.errors import OperationFailedError
from migratekit_core.joblog import Step
from migratekit_core.models.oma import ReplicationCheckpoint, ReplicationJob, VmDisk
from migratekit_core.replication.plan import DiskPlan
from migratekit_core.replication.replica import COMPLETED, FAILED, RUNNING
from migratekit_core.runtime import Runtime
from migratekit_core.source import https
from migratekit_core.units import human_bytes
from migratekit_core.vsphere import cbt, snapshots
from migratekit_core.vsphere.inventory import Disk, VirtualMachine

PARALLEL_DISKS = 4
"""Disks of one machine copied at once: more only compete for the same host's NFC and the same link."""
REPORT_SECONDS = 1.0


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


def copy_disks(
    runtime: Runtime,
    lock: Lock,
    step: Step,
    job_id: str,
    vm: VirtualMachine,
    managed: Any,
    snapshot: Any,
    work: list[DiskWork],
) -> list[Copied]:
    """Copy all disks, several at a time, and commit each one's change id when it is complete and flushed.

    The first error stops the others, which leave checkpoints behind. Raises that error, or KeyboardInterrupt.
    """
    engines = Engines()
    board = _Board(runtime, job_id)
    # pyVmomi's connection is one, and so is the lock's: both are used by one disk after the other.
    asking = threading.Lock()

    def one(item: DiskWork) -> Copied:
        try:
            return _copy_disk(runtime, lock, step, job_id, vm, managed, snapshot, item, engines, board, asking)
        except BaseException:
            _set_status(runtime, item, FAILED)
            raise

    with ThreadPoolExecutor(PARALLEL_DISKS, thread_name_prefix="disk") as pool:
        futures = [pool.submit(one, item) for item in work]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() and future.exception() is None for future in futures):
                for future in futures:
                    future.cancel()
                engines.stop()
    errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
    # The one that stopped the others first: they only tell that they were stopped.
    errors.sort(key=lambda error: isinstance(error, KeyboardInterrupt))
    if errors:
        raise errors[0]
    return [future.result() for future in futures]


def _copy_disk(
    runtime: Runtime,
    lock: Lock,
    step: Step,
    job_id: str,
    vm: VirtualMachine,
    managed: Any,
    snapshot: Any,
    item: DiskWork,
    engines: Engines,
    board: _Board,
    asking: threading.Lock,
) -> Copied:
    disk, plan = item.disk, item.plan
    name = f"{vm.name} {disk.label}"

    def areas(change_id: str) -> list[tuple[int, int]]:
        with asking:
            found = cbt.changed_areas(managed, snapshot, disk.key, disk.capacity_bytes, change_id)
            return [(area.offset, area.length) for area in found]

    full = plan.full
    try:
        wanted = areas(plan.base)
        since = areas(plan.resume.change_id) if plan.resume else []
        resume, reason = plan.resume, plan.reason
    except cbt.EpochLostError as error:
        if plan.base == cbt.EVERYTHING and plan.resume is None:
            raise
        step.log("changes unknown, copying everything", level="warning", disk=disk.label, reason=error.why)
        full, resume, since, reason = True, None, [], "vSphere does not know the last change id any more"
        wanted = areas(cbt.EVERYTHING)
    position = resume.position if resume else 0
    changed = sum(length for _, length in wanted)
    step.log("plan", disk=disk.label, full=full, reason=reason, areas=len(wanted), bytes=changed, resume_at=position)
    if full and not resume:
        # From here on the volume is nothing: neither its old content nor the new one.
        _forget_content(runtime, item)
    _set_status(runtime, item, RUNNING)

    settings = runtime.config.replication
    results: list[Done] = []

    def run(start: int, everything: bool, parts: list[tuple[int, int]], observe: Callable[[Event], None]) -> None:
        job = Job(
            disk=name,
            source=source,
            target=runtime.nbd_uri(item.export),
            size=disk.capacity_bytes,
            full=everything,
            start=start,
            connections=settings.connections,
            request_size=settings.request_size,
            window=settings.window,
        )
        results.append(copy(job, parts, observe, engines))

    def observe(event: Event) -> None:
        if isinstance(event, Progress):
            board.update(disk.label, event)
        elif isinstance(event, Checkpoint):
            _store_checkpoint(runtime, job_id, item, full, event.position)

    with https.open_disk(runtime.vcenter, vm.datacenter, disk, vm.name) as source:
        if since:
            # Below the checkpoint only what changed since the interrupted copy's snapshot is missing.
            run(0, False, list(_below(since, position)), lambda event: None)
        run(position, full, wanted, observe)
    read, moved = sum(done.read for done in results), sum(done.written for done in results)
    seconds = sum(done.seconds for done in results)
    # The database's locks are one connection's, which the disks' threads must not use at once.
    with asking:
        lock.ensure()
        _still_frozen(managed, snapshot, name)
    _commit(runtime, item, moved)
    step.log("disk copied", disk=disk.label, full=full, read=read, moved=moved, seconds=round(seconds, 3))
    runtime.observer.note(f"{disk.label}: {human_bytes(moved)} moved of {human_bytes(changed)} ({reason})")
    return Copied(disk.label, full, reason, changed, read, moved, seconds)


def _still_frozen(managed: Any, snapshot: Any, name: str) -> None:
    """Raise OperationFailedError where our snapshot is gone: the base file was no point in time any more then."""
    if all(ours._moId != snapshot._moId for ours, _ in snapshots.ours(managed)):
        raise OperationFailedError(
            f"{name} was copied while its snapshot was removed",
            f"snapshot {snapshot._moId} is gone; somebody removed it in vCenter",
            "run the command again: what changed meanwhile is copied then",
        )


def _below(areas: list[tuple[int, int]], position: int) -> Iterator[tuple[int, int]]:
    for offset, length in areas:
        if offset < position:
            yield offset, min(length, position - offset)


class _Board:
    """Adds up the progress of all disks, and writes it to the replication's row now and then."""

    def __init__(self, runtime: Runtime, job_id: str) -> None:
        self._runtime = runtime
        self._job_id = job_id
        self._disks: dict[str, Progress] = {}
        self._lock = threading.Lock()
        self._written = 0.0

    def update(self, disk: str, progress: Progress) -> None:
        self._runtime.observer.progress(disk, progress)
        with self._lock:
            self._disks[disk] = progress
            now = time.monotonic()
            if now - self._written < REPORT_SECONDS:
                return
            self._written = now
            done = sum(held.done for held in self._disks.values())
            total = sum(held.total for held in self._disks.values())
            rate = sum(held.rate for held in self._disks.values())

        def change(db: Session) -> None:
            job = db.get(ReplicationJob, self._job_id)
            assert job is not None, "the sync made its row before it copied"
            job.bytes_transferred, job.total_bytes, job.transfer_speed_bps = done, total, int(rate)
            job.progress_percent = round(100 * done / total, 1) if total else 0.0

        write(self._runtime.databases.oma, change)


def _forget_content(runtime: Runtime, item: DiskWork) -> None:
    def change(db: Session) -> None:
        _row(db, item).disk_change_id = None
        _drop_checkpoint(db, item)

    write(runtime.databases.oma, change)


def _store_checkpoint(runtime: Runtime, job_id: str, item: DiskWork, full: bool, position: int) -> None:
    assert item.disk.change_id is not None, "the plan has seen to it"
    snapshot_change_id = item.disk.change_id

    def change(db: Session) -> None:
        db.merge(
            ReplicationCheckpoint(
                volume_id=item.volume_id,
                job_id=job_id,
                base_change_id=None if full else item.plan.base,
                snapshot_change_id=snapshot_change_id,
                position=position,
            )
        )

    write(runtime.databases.oma, change)


def _commit(runtime: Runtime, item: DiskWork, moved: int) -> None:
    """Say that the volume holds the snapshot's content: the engine has flushed, so from now on it does."""

    def change(db: Session) -> None:
        row = _row(db, item)
        row.disk_change_id, row.sync_status = item.disk.change_id, COMPLETED
        row.sync_progress_percent, row.bytes_synced = 100.0, moved
        _drop_checkpoint(db, item)

    write(runtime.databases.oma, change)


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
