"""Verifies a replica: digests of both sides over a snapshot, without moving the data.

What the guest has written since the last sync cannot be on the volume yet. vSphere names it (change tracking, from the
change id that is recorded for the volume), so it is left out and told apart: pending, not different.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.readers import readers
from migratekit_core.adapters.vsphere import cbt, client
from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine, find_vm, managed_object, read_disks
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.units import human_bytes
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.locks import Lock, vm_lock
from migratekit_core.db.models.oma import VmDisk
from migratekit_core.db.schema import require_schema
from migratekit_core.engine.areas import normalise
from migratekit_core.engine.digests.blocks import Range, block_size_for, complement
from migratekit_core.engine.digests.process import hasher
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.replication import replica
from migratekit_core.services.replication.compare import Meter, compare
from migratekit_core.services.replication.frozen import frozen, still_frozen, while_there
from migratekit_core.services.replication.parallel import each_disk
from migratekit_core.services.replication.removals import finish
from migratekit_core.services.replication.room import guarded
from migratekit_core.services.replication.sync import check_source, failed_over
from migratekit_core.services.replication.transfer import Run
from migratekit_core.volumed.client import VolumeClient


@dataclass(frozen=True)
class VerifiedDisk:
    """What came of one disk; sizes and ranges in bytes."""

    label: str
    volume_id: str
    identical: bool
    capacity: int
    compared: int
    read: int
    """What was read of the source: what is not allocated is zeros, and counts as such."""
    pending: int
    """Changed since the last sync, so not compared."""
    changes_known: bool
    """Whether vSphere could tell what changed; if not, everything was compared."""
    different: list[Range]
    """(offset, length) of each range that differs."""
    note: str
    source_digest: str = ""
    """Of all that was compared, on each side (BLAKE3 of the blocks' BLAKE3 digests)."""
    volume_digest: str = ""


@dataclass(frozen=True)
class Verification:
    """What came of a machine."""

    job_id: str
    vm: VirtualMachine
    disks: tuple[VerifiedDisk, ...]

    @property
    def identical(self) -> bool:
        """Return whether every disk's volume holds what it should."""
        return all(disk.identical for disk in self.disks)


@dataclass(frozen=True)
class VerifyPlan:
    """A verification that was not run."""

    vm_name: str
    steps: tuple[str, ...]


def preview(runtime: Runtime, name: str) -> VerifyPlan:
    """Return what `verify` would do now. Raises what it would raise before it does anything."""
    _require(runtime)
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
    known = _known(runtime, vm)
    steps = ["snapshot the machine"]
    for disk in vm.disks:
        size, volume = human_bytes(disk.capacity_bytes), known[disk.key].ossea_volume_id
        steps.append(f"hash {disk.label} ({size}) and volume {volume}, without what changed since the last sync")
    return VerifyPlan(vm.name, (*steps, "remove the snapshot"))


def verify(runtime: Runtime, name: str) -> Verification:
    """Compare a machine's replica with its source.

    Raises PreconditionError where there is no complete replica, BusyError where another run works on the machine, and
    whatever a part reports. That something differs is a result, no error.
    """
    _require(runtime)
    runtime.tracker.mark_interrupted()
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        with (
            vm_lock(runtime.databases.oma, vm.uuid, f"verify {vm.name}") as lock,
            runtime.tracker.job("verify", owner=vm.name) as job,
        ):
            return verify_within(runtime, lock, job, service, vm)


def verify_within(runtime: Runtime, lock: Lock, job: Job, service: Any, vm: VirtualMachine) -> Verification:
    """Verify within a job and a lock of the caller's (also before a machine is cut over)."""
    managed = managed_object(service, vm)
    volumes = runtime.volumes(job)
    try:
        known = _preflight(runtime, job, vm, managed, volumes)
        job.stop_if_cancelled()
        with (
            while_there(managed, vm.name),
            frozen(runtime, job, vm, managed, "verification") as snapshot,
            job.step("compare") as step,
        ):
            run = Run(runtime, lock, step, vm, managed, snapshot)
            disks = [disk for disk in read_disks(snapshot) if _usable(runtime, disk, vm, known)]
            runtime.observer.expect([disk.label for disk in disks])
            with guarded(runtime.config.source, step, vm, managed, run.engines):
                found = each_disk(disks, lambda disk: _verify(run, disk, known[disk.key], volumes), run.engines, job)
        return Verification(job.id, vm, tuple(found))
    finally:
        volumes.close()


def _require(runtime: Runtime) -> None:
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)


def _preflight(
    runtime: Runtime, job: Job, vm: VirtualMachine, managed: Any, volumes: VolumeClient
) -> dict[int, VmDisk]:
    with job.step("preflight") as step:
        known = _known(runtime, vm)
        volumes.health()
        removed = finish(runtime, step, vm, managed)
        if removed:
            step.log(EventKind.LEFTOVERS_CLEANED, level="warning", snapshots=removed)
        for row in known.values():
            assert row.ossea_volume_id is not None, "_known has seen to it"
            volumes.attach(row.ossea_volume_id)
    return known


def _known(runtime: Runtime, vm: VirtualMachine) -> dict[int, VmDisk]:
    """Return what is recorded of each disk's volume. Raises PreconditionError unless every disk was synced once."""
    over = replica.live_failover(runtime.databases.oma, vm.uuid)
    if over is not None:
        raise failed_over(vm, over)
    check_source(runtime, vm)
    known = replica.of_disks(runtime.databases.oma, vm)
    for disk in vm.disks:
        row = known.get(disk.key)
        reason = ""
        if row is None or row.ossea_volume_id is None:
            reason = "it was never replicated"
        elif row.capacity_bytes != disk.capacity_bytes:
            reason = f"it was resized from {row.capacity_bytes} bytes since the last sync"
        elif row.disk_change_id is None:
            reason = "no sync of it has completed"
        if reason:
            raise PreconditionError(
                f"{disk.label} of {vm.name} cannot be verified",
                reason,
                hint("run first: ", migratekit("replicate", vm.name)),
                code=ErrorCode.REPLICA_INCOMPLETE,
                facts={"vm": vm.name, "disk": disk.label},
            )
    return {disk.key: known[disk.key] for disk in vm.disks}


def _usable(runtime: Runtime, disk: Disk, vm: VirtualMachine, known: dict[int, VmDisk]) -> bool:
    if disk.key not in known or known[disk.key].capacity_bytes != disk.capacity_bytes:
        raise PreconditionError(
            f"the disks of {vm.name} changed while the verification began",
            disk.label,
            "run it again",
            code=ErrorCode.SOURCE_CHANGED,
            facts={"vm": vm.name, "disk": disk.label},
        )
    readers.check(runtime.config, vm, disk)
    return True


def _verify(run: Run, disk: Disk, row: VmDisk, volumes: VolumeClient) -> VerifiedDisk:
    runtime, name = run.runtime, f"{run.vm.name} {disk.label}"
    assert row.ossea_volume_id is not None, "_known has seen to it"
    changed, note = _changed(run, disk, row)
    pending = list(normalise(changed or (), 0, disk.capacity_bytes))
    ranges = list(complement(((start, end - start) for start, end in pending), disk.capacity_bytes))
    total = sum(length for _, length in ranges)
    meter = Meter(total)
    with (
        run.open(disk) as source,
        hasher(name, source, disk.capacity_bytes, runtime.config.replication.request_size, run.engines) as hashing,
    ):
        found = compare(
            hashing,
            volumes,
            row.ossea_volume_id,
            ranges,
            run.allocated(disk),
            block_size_for(disk.capacity_bytes),
            lambda done: run.show(disk.label, meter.progress(done)),
        )
    # Whoever had the machine meanwhile may have written to the volume, or removed the snapshot.
    with run.asking:
        run.lock.ensure()
        still_frozen(run.managed, run.snapshot, name)
    result = VerifiedDisk(
        label=disk.label,
        volume_id=row.ossea_volume_id,
        identical=not found.different,
        capacity=disk.capacity_bytes,
        compared=found.compared,
        read=found.read,
        pending=disk.capacity_bytes - total,
        changes_known=changed is not None,
        different=found.different,
        note=note,
        source_digest=found.source_digest,
        volume_digest=found.volume_digest,
    )
    run.step.log(
        EventKind.DISK_IDENTICAL if result.identical else EventKind.DISK_DIFFERENT,
        text=None if result.identical else f"{human_bytes(found.differing)} differ",
        level="info" if result.identical else "warning",
        disk=disk.label,
        compared=found.compared,
        read=found.read,
        pending=result.pending,
        differing=found.differing,
        ranges=len(found.different),
        note=note,
        volume_id=result.volume_id,
        source_digest=found.source_digest,
        volume_digest=found.volume_digest,
    )
    return result


def _changed(run: Run, disk: Disk, row: VmDisk) -> tuple[list[Range] | None, str]:
    """Return what changed since the last sync, or None and why that cannot be known."""
    then, now = row.disk_change_id, disk.change_id
    assert then is not None, "_known has seen to it"
    unknown = "so what the guest wrote since the last sync counts as different"
    if now is None or cbt.epoch(then) != cbt.epoch(now):
        return None, f"change tracking began anew, {unknown}"
    if cbt.number(then) > cbt.number(now):
        return None, f"the machine was reverted, {unknown}"
    try:
        return run.areas(disk, then), ""
    except cbt.EpochLostError:
        return None, f"vSphere does not know the last change id any more, {unknown}"
