"""One sync of one machine, from the lock to the removed snapshot. The first is full, the next ones are incremental."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlmodel import Session

from migratekit_core.adapters.cloudstack import store
from migratekit_core.adapters.readers import readers
from migratekit_core.adapters.vsphere import cbt, client
from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine, find_vm, managed_object, read_disks
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.common.units import GIB, round_up
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.engine import write
from migratekit_core.db.locks import Lock, vm_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import FailoverJob, ReplicationJob, VmDisk
from migratekit_core.db.schema import require_schema
from migratekit_core.db.sources import note_sync
from migratekit_core.engine.bandwidth import Bandwidth, Limits
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.tracker import describe, outcome
from migratekit_core.services.replication import forecast, leftover, removals, replica, surplus, targets
from migratekit_core.services.replication.frozen import After, frozen, while_there
from migratekit_core.services.replication.ours import owner
from migratekit_core.services.replication.plan import fits, plan_disk
from migratekit_core.services.replication.surplus import SurplusVolume
from migratekit_core.services.replication.transfer import Copied, DiskWork, Run, copy_disks
from migratekit_core.volumed.client import VolumeClient, making_refused, oma_problem


@dataclass(frozen=True)
class Options:
    """How to sync."""

    compare: bool = False
    """Compare each disk that has a volume with it by digests, and copy only the blocks that differ."""
    limits: Limits | None = None
    """Instead of the configured ones."""
    removal_wait: float | None = None
    """Instead of `source.removal_wait`: of a machine that is off meanwhile nobody waits for a snapshot to be merged."""
    leave_snapshot: bool = False
    """Leave the snapshot of a sync that fails: the machine is off, and the caller starts it before he removes that."""


DEFAULTS = Options()


@dataclass(frozen=True)
class SyncResult:
    """What a sync did; sizes in bytes, time in seconds."""

    job_id: str
    vm: VirtualMachine
    kind: str
    disks: tuple[Copied, ...]
    seconds: float
    surplus: tuple[SurplusVolume, ...] = ()
    """Volumes of the machine that none of its disks needs any more."""
    removal_pending: str = ""
    """Why its snapshot is still being removed; "" where it is gone."""

    @property
    def moved(self) -> int:
        """Return what crossed the tunnel as data."""
        return sum(disk.moved for disk in self.disks)

    @property
    def changed(self) -> int:
        """Return what vSphere named as allocated or changed."""
        return sum(disk.changed for disk in self.disks)


def replicate(runtime: Runtime, name: str, options: Options = DEFAULTS) -> SyncResult:
    """Bring the replica of a machine up to date, making it first where there is none.


    Raises PreconditionError for a machine that is unknown, ambiguous, cannot be read or was failed over, BusyError
    where another run works on it, and whatever a part reports.
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        with vm_lock(runtime.databases.oma, vm.uuid, f"replicate {vm.name}") as lock:
            over = replica.live_failover(runtime.databases.oma, vm.uuid)
            if over is not None:
                raise failed_over(vm, over)
            if vm.power == "poweredOff" and replica.interrupted_failover(runtime.databases.oma, vm.uuid) is not None:
                runtime.observer.note(
                    f"{vm.name} is off since a failover that was interrupted; go on with: "
                    f"{migratekit('failover', vm.name)}, or back with: {migratekit('rollback', vm.name)}"
                )
            with runtime.tracker.job("replication", owner=vm.name) as job:
                done = sync(runtime, lock, job, service, vm, options)
                return replace(done, surplus=_surplus(runtime, job, vm))


def failed_over(vm: VirtualMachine, over: FailoverJob) -> PreconditionError:
    """Return the error for a machine whose volumes belong to a new one."""
    forward, back = migratekit("failover", vm.name), migratekit("rollback", vm.name)
    state, todo = {
        replica.COMPLETED: ("is failed over", hint("nothing is left to replicate; to give it back: ", back)),
        replica.ROLLING_BACK: ("is being rolled back", hint("go on with: ", back)),
    }.get(over.status, ("is being failed over", hint("go on with: ", forward, ", or give it back with: ", back)))
    return PreconditionError(
        f"{vm.name} {state}",
        f"failover {over.id} is {over.status}; the volumes belong to the new machine {over.destination_vm_id or ''}",
        todo,
        code=ErrorCode.IN_FAILOVER,
        facts={"vm": vm.name, "failover_id": over.id},
    )


def sync(
    runtime: Runtime, lock: Lock, job: Job, service: Any, vm: VirtualMachine, options: Options = DEFAULTS
) -> SyncResult:
    """Sync within a job and a lock of the caller's (also the failover's last sync)."""
    began = time.monotonic()
    managed = managed_object(service, vm)
    volumes = runtime.volumes(job)
    with while_there(managed, vm.name), job.step("preflight") as step:
        check_source(runtime, vm)
        volumes.health()
        before = replica.newest(runtime.databases.oma, vm.uuid)
        refuse_unfit_oma(volumes, vm, replica.of_disks(runtime.databases.oma, vm, before))
        # First of all nobody copies any more: a run that lost its lock, or an engine that was left behind, would go on
        # reading what the removal of its snapshot sets free.
        for row in before.disks if before else ():
            if row.ossea_volume_id is not None:
                targets.fence(volumes, row.ossea_volume_id)
        left = replica.mark_interrupted(runtime.databases.oma, vm.uuid)
        removed = removals.finish(runtime, step, vm, managed, killed=left > 0)
        if left or removed:
            step.log(EventKind.LEFTOVERS_CLEANED, level="warning", runs=left, snapshots=removed)
    job.stop_if_cancelled()
    with job.step("enable-cbt") as step:
        switched = cbt.enable(managed)
        step.log(EventKind.CHANGE_TRACKING, switched_on=switched)
        if switched:
            runtime.observer.note("changed-block tracking was off and is switched on")
    job.stop_if_cancelled()
    known = _prepare_rows(runtime, job, vm)
    forecast.tell(runtime, job, vm, managed, known)
    row_id = job.id
    try:
        with while_there(managed, vm.name), targets.exported(runtime, job, vm, volumes) as exports:
            kind, copied = _copy_snapshot(runtime, lock, job, vm, managed, known, exports, options)
        targets.delete_outgrown(job, volumes, known, exports)
        seconds = time.monotonic() - began
        pending = leftover.pending(runtime.databases.oma, vm.uuid)
        _finish(runtime, row_id, kind, copied, seconds, pending)
        return SyncResult(row_id, vm, kind, tuple(copied), seconds, removal_pending=pending)
    except BaseException as error:
        _fail(runtime, row_id, error)
        raise
    finally:
        volumes.close()


def refuse_unfit_oma(volumes: VolumeClient, vm: VirtualMachine, known: dict[int, VmDisk]) -> None:
    """Raise what keeps the OMA from taking disks, or volumes from being made, before anything is made or changed;
    volumes that are attached already need nothing of it."""
    said = volumes.oma([disk.capacity_bytes for disk in targets.without_volume(volumes, vm, known)])
    refused = making_refused(said)
    if refused is not None:
        raise refused
    problem = oma_problem(said)
    if problem is None:
        return
    attached = {volume["id"] for volume in volumes.volumes() if volume["linux_state"] == "attached"}
    if not all(disk.key in known and known[disk.key].ossea_volume_id in attached for disk in vm.disks):
        raise problem


def _surplus(runtime: Runtime, job: Job, vm: VirtualMachine) -> tuple[SurplusVolume, ...]:
    """Return the machine's surplus volumes; a sync that is done does not fail because nobody can tell of them."""
    try:
        with contextlib.closing(runtime.volumes(job)) as volumes:
            return surplus.of_machine(runtime.databases.oma, volumes, vm.uuid)
    except MigrateKitError as error:
        runtime.observer.note(f"whether {vm.name} has volumes that nothing needs any more was not found out: {error}")
        return ()


def check_source(runtime: Runtime, vm: VirtualMachine) -> None:
    """Refuse what can be refused before anything is made."""
    if vm.template:
        raise PreconditionError(
            f"{vm.name} is a template",
            "templates have no changes to track",
            "deploy it first",
            code=ErrorCode.VM_UNFIT,
            facts={"vm": vm.name},
        )
    if vm.connection != "connected":
        raise PreconditionError(
            f"{vm.name} cannot be used",
            f"vSphere calls it {vm.connection}",
            "repair it in vCenter",
            code=ErrorCode.VM_UNFIT,
            facts={"vm": vm.name},
        )
    if not vm.disks:
        raise PreconditionError(
            f"{vm.name} has no disks",
            "there is nothing to replicate",
            "check the name",
            code=ErrorCode.VM_UNFIT,
            facts={"vm": vm.name},
        )
    for disk in vm.disks:
        if disk.capacity_bytes % 512:
            raise PreconditionError(
                f"{disk.label} of {vm.name} has an odd size",
                f"{disk.capacity_bytes} bytes",
                "resize it to whole sectors",
                code=ErrorCode.VM_UNFIT,
                facts={"vm": vm.name, "disk": disk.label, "size": disk.capacity_bytes},
            )
    mine = owner(runtime.databases.oma)
    foreign = [found for found in vm.snapshots if not mine.owns(found.name)]
    cbt.refuse_unfit(vm.name, vm.tracks, vm.excluded_disks, bool(foreign))
    # A snapshot of ours is removed before anything is read, and its delta with it; so are those that one left behind.
    if not vm.consolidation_needed and (foreign or not vm.has_snapshots):
        for disk in vm.disks:
            readers.check(runtime.config, vm, disk)


def _prepare_rows(runtime: Runtime, job: Job, vm: VirtualMachine) -> dict[int, VmDisk]:
    """Write this run's rows, on from what the last one knew; return the last one's disks by their device key."""
    before = replica.newest(runtime.databases.oma, vm.uuid)
    known = replica.of_disks(runtime.databases.oma, vm, before)
    config_id = store.known(runtime.databases.oma, runtime.config)

    def prepare(db: Session) -> None:
        if db.get(ReplicationJob, job.id) is not None:
            return  # the answer to the last attempt was lost, not the attempt
        row = ReplicationJob(
            id=job.id,
            source_vm_id=vm.uuid,
            source_vm_name=vm.name,
            source_vm_path=vm.path,
            vcenter_host=runtime.vcenter.host,
            datacenter=vm.datacenter,
            replication_type=replica.INCREMENTAL if before else replica.FULL,
            target_network=runtime.config.networks.map.get(vm.nics[0].network) or None if vm.nics else None,
            status=replica.RUNNING,
            current_operation="create-volumes",
            previous_change_id=before.job.change_id if before else None,
            nbd_port=runtime.config.volumes.nbd_port,
            ossea_config_id=config_id,
            started_at=utcnow(),
        )
        db.add(row)
        db.flush()
        note_sync(db, row)
        for disk in vm.disks:
            db.add(_disk_row(job.id, disk, known.get(disk.key)))

    write(runtime.databases.oma, prepare)
    return known


def _disk_row(job_id: str, disk: Disk, known: VmDisk | None) -> VmDisk:
    same = known is not None and known.capacity_bytes == disk.capacity_bytes
    return VmDisk(
        job_id=job_id,
        disk_id=str(disk.key),
        vmdk_path=disk.path,
        size_gb=round_up(disk.capacity_bytes, GIB) // GIB,
        datastore=disk.datastore,
        unit_number=disk.unit_number,
        label=disk.label,
        capacity_bytes=disk.capacity_bytes,
        provisioning_type=disk.provisioning,
        ossea_volume_id=known.ossea_volume_id if known is not None and fits(known, disk) else None,
        disk_change_id=known.disk_change_id if known is not None and same else None,
        sync_status="pending",
    )


def _copy_snapshot(
    runtime: Runtime,
    lock: Lock,
    job: Job,
    vm: VirtualMachine,
    managed: Any,
    known: dict[int, VmDisk],
    exports: dict[int, tuple[str, str]],
    options: Options,
) -> tuple[str, list[Copied]]:
    job.stop_if_cancelled()
    after = After(options.removal_wait, options.leave_snapshot)
    with frozen(runtime, job, vm, managed, "replication", tracked=True, after=after) as snapshot:
        _update(runtime, job.id, snapshot_id=snapshot._moId, current_operation="copy")
        settings = runtime.config.replication
        limits = options.limits or Limits(settings.bandwidth, settings.disk_bandwidth)
        bandwidth = runtime.bandwidth or Bandwidth(limits)
        with job.step("copy") as step:
            work = _work(runtime, job, vm, read_disks(snapshot), known, exports, options)
            kind = replica.FULL if any(item.plan.full for item in work) else replica.INCREMENTAL
            _update(runtime, job.id, replication_type=kind, change_id=work[0].disk.change_id)
            copied = copy_disks(Run(runtime, lock, step, vm, managed, snapshot, bandwidth=bandwidth), work)
            # What was planned may have turned into a full copy where vSphere did not know the changes any more; or into
            # less where it was compared.
            return replica.FULL if any(disk.full for disk in copied) else replica.INCREMENTAL, copied


def _work(
    runtime: Runtime,
    job: Job,
    vm: VirtualMachine,
    disks: tuple[Disk, ...],
    known: dict[int, VmDisk],
    exports: dict[int, tuple[str, str]],
    options: Options,
) -> list[DiskWork]:
    meant = {disk.key: disk.uuid for disk in vm.disks}
    missing = [disk.label for disk in disks if disk.key not in exports or meant[disk.key] != disk.uuid]
    if missing or len(disks) != len(exports):
        raise PreconditionError(
            f"the disks of {vm.name} changed while the sync began",
            f"new: {', '.join(missing) or 'none'}",
            "run it again",
            code=ErrorCode.SOURCE_CHANGED,
            facts={"vm": vm.name},
        )
    work = []
    for disk in disks:
        readers.check(runtime.config, vm, disk)
        volume_id, export = exports[disk.key]
        row = write(runtime.databases.oma, partial(targets.disk_row, job_id=job.id, disk=disk))
        before = known.get(disk.key)
        # A volume that was made just now holds nothing, whatever was known of an earlier one.
        before = before if before is not None and before.ossea_volume_id == volume_id else None
        plan = plan_disk(disk, before, replica.checkpoint(runtime.databases.oma, volume_id), options.compare)
        assert row.id is not None, "stored rows have their key"
        work.append(DiskWork(disk, row.id, volume_id, export, plan))
    return work


def _update(runtime: Runtime, job_id: str, **values: Any) -> None:
    def change(db: Session) -> None:
        row = db.get(ReplicationJob, job_id)
        assert row is not None, "written when the sync began"
        for name, value in values.items():
            setattr(row, name, value)
        if row.status == replica.COMPLETED:
            note_sync(db, row)

    write(runtime.databases.oma, change)


def _finish(runtime: Runtime, job_id: str, kind: str, copied: list[Copied], seconds: float, pending: str) -> None:
    moved = sum(disk.moved for disk in copied)
    _update(
        runtime,
        job_id,
        status=replica.COMPLETED,
        replication_type=kind,
        current_operation="remove-snapshot" if pending else None,
        progress_percent=100.0,
        bytes_transferred=moved,
        total_bytes=sum(disk.changed for disk in copied),
        transfer_speed_bps=int(moved / seconds) if seconds else 0,
        nbd_export_name=None,
        snapshot_id=None,
        completed_at=utcnow(),
    )


def _fail(runtime: Runtime, job_id: str, error: BaseException) -> None:
    """Record why a sync ended; what cannot be recorded must not hide the error itself."""
    status = outcome(error)
    with contextlib.suppress(MigrateKitError):
        _update(
            runtime,
            job_id,
            status=status,
            error_message=redact(describe(error)),
            current_operation=None,
            completed_at=utcnow(),
        )
