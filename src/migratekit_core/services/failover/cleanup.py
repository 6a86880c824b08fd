"""Takes a rehearsal away: its machine, its volumes, its snapshots. Exactly what it made, in whatever state it died."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import Destroyed
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.adapters.vsphere import client
from migratekit_core.adapters.vsphere.inventory import find_vm, managed_object
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError, PreconditionError
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.locks import destination_lock, vm_lock
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import remains
from migratekit_core.services.failover.destination import STAYS, destroy, settle
from migratekit_core.services.failover.record import CLEANED, COMPLETED, LIVE, TEST, Record, newest, unfinished
from migratekit_core.services.failover.remains import Remains, Subject
from migratekit_core.services.failover.rollback import PATIENCE_SECONDS
from migratekit_core.services.guests import undo
from migratekit_core.services.replication import leftover, removals, replica, surplus, targets
from migratekit_core.services.replication.leftover import Left
from migratekit_core.services.replication.surplus import Surplus
from migratekit_core.volumed.client import VolumeClient


@dataclass(frozen=True)
class Cleaned:
    """What was taken away."""

    job_id: str
    vm_name: str
    failovers: tuple[str, ...]
    machines: tuple[str, ...]
    volumes: tuple[str, ...]
    snapshots: tuple[str, ...]
    kept_machines: tuple[str, ...] = ()
    """Those of `machines` that CloudStack keeps, destroyed: the account may not expunge (destination.STAYS)."""
    source_snapshots: tuple[str, ...] = ()
    """Names of snapshots in vCenter that a sync or a verification of the machine had left."""
    unfinished: str | None = None
    """A live failover that is neither done nor taken back: no rehearsal, so it is left, but it has to be told."""


def find(runtime: Runtime, name: str) -> Subject:
    """Return the machine that `name` means: by its replica, for the source may be gone, else by vCenter, for the
    replica's rows may be lost."""
    found = replica.named(runtime.databases.oma, name)
    if len(found) == 1:
        return Subject(found[0].job.source_vm_id, found[0].job.source_vm_name)
    if found:
        paths = ", ".join(f"{item.job.source_vm_path} ({item.job.source_vm_id})" for item in found)
        raise PreconditionError(
            f"the name {name!r} is ambiguous",
            f"replicas with that name: {paths}",
            "name one by its path or id",
            code=ErrorCode.VM_AMBIGUOUS,
            facts={"vm": name},
        )
    require(runtime.config, "vcenter")
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
    return Subject(vm.uuid, vm.name)


def surplus_of(runtime: Runtime, name: str) -> Surplus:
    """Return the volumes of a machine that nothing needs any more; a cleanup names them and leaves them."""
    subject = find(runtime, name)
    try:
        with closing(runtime.volumes()) as volumes:
            return surplus.find(runtime, volumes.volumes(), subject.uuid)
    except MigrateKitError as error:
        return Surplus((), (f"whether {subject.name} has volumes that nothing needs any more: {error}",))


def plan(runtime: Runtime, name: str) -> list[Remains]:
    """Return what a cleanup would take away."""
    require(runtime.config, "ossea")
    require_schema(runtime.databases)
    volumes = runtime.volumes()
    try:
        return remains.of(runtime.databases.oma, runtime.cloud(at_once=True), volumes, find(runtime, name))
    finally:
        volumes.close()


def at_source(runtime: Runtime, name: str) -> list[Left]:
    """Return the snapshots in vCenter that a cleanup would remove."""
    return leftover.owed(runtime.databases.oma, find(runtime, name).uuid)


def will_stay(runtime: Runtime, found: list[Remains]) -> bool:
    """Return whether CloudStack would keep the machines of a plan, destroyed: the account may not expunge (STAYS)."""
    return any(one.machines for one in found) and compute.may_expunge(runtime.cloud(at_once=True)) is False


def clean(runtime: Runtime, name: str) -> Cleaned:
    """Take every rehearsal of a machine away; doing it again finds nothing and is no error.

    A sync may run meanwhile: a rehearsal shares nothing with it. Raises BusyError while a rehearsal, a failover or a
    rollback of the machine is under way.
    """
    require(runtime.config, "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    subject = find(runtime, name)
    cloud = runtime.cloud()
    with (
        destination_lock(runtime.databases.oma, subject.uuid, f"cleanup {subject.name}"),
        runtime.tracker.job("cleanup", owner=subject.name) as job,
    ):
        volumes = runtime.volumes(job, PATIENCE_SECONDS)
        try:
            gone = take_away(runtime, cloud, volumes, job, subject, syncing=True)
            live = newest(runtime.databases.oma, subject.uuid, LIVE)
            completed = live is not None and live.row().status == COMPLETED
            # Nothing but these is left of a failover whose machine is to stay.
            kept = undo.forget(volumes, job, live) if live is not None and completed else ()
        finally:
            volumes.close()
        removed = _remove_source_snapshots(runtime, job, subject)
        left = unfinished(runtime.databases.oma, subject.uuid, LIVE)
    return Cleaned(
        job_id=job.id,
        vm_name=subject.name,
        failovers=tuple(one.failover_id for one in gone),
        machines=tuple(machine for one in gone for machine in one.machines),
        volumes=tuple(volume for one in gone for volume in one.volumes),
        snapshots=(*(snapshot for one in gone for snapshot in one.snapshots), *kept),
        kept_machines=tuple(machine for one in gone for machine in one.kept),
        source_snapshots=removed,
        unfinished=left[0].id if left else None,
    )


def _remove_source_snapshots(runtime: Runtime, job: Job, subject: Subject) -> tuple[str, ...]:
    """Remove what a sync or a verification that ended has left in this vCenter; return the snapshots' names."""
    left = leftover.owed(runtime.databases.oma, subject.uuid)
    if not left:
        return ()
    require(runtime.config, "vcenter")
    if all(one.vcenter_host != runtime.vcenter.host for one in left):
        return ()
    with ExitStack() as held:
        try:
            held.enter_context(vm_lock(runtime.databases.oma, subject.uuid, f"cleanup {subject.name}"))
        except BusyError:
            return ()  # the sync that is under way removes them before it begins
        undone = held.enter_context(runtime.undoing(job))
        step = held.enter_context(undone.step("remove-snapshot"))
        service = held.enter_context(client.connect(runtime.vcenter, runtime.observer.note))
        try:
            vm = find_vm(service, subject.uuid)
        except PreconditionError as error:
            if error.code is not ErrorCode.VM_NOT_FOUND:
                raise
            leftover.closed(runtime.databases.oma, subject.uuid)  # they went with their machine
            return ()
        removed = removals.finish(runtime, step, vm, managed_object(service, vm), killed=True)
        step.log(EventKind.LEFTOVERS_CLEANED, snapshots=removed)
    return tuple(removed)


def take_away(
    runtime: Runtime, cloud: Cloud, volumes: VolumeClient, job: Job, subject: Subject, *, syncing: bool
) -> list[Remains]:
    """Take away what is left of a machine's rehearsals, within a job and a lock of the caller's; return what was.

    `syncing` says whether a sync of the machine may be under way, for all that the caller has locked.
    """
    with job.step("find-rehearsals") as step:
        for record in unfinished(runtime.databases.oma, subject.uuid, TEST):
            settle(runtime.databases.oma, cloud, record)
        found = remains.of(runtime.databases.oma, cloud, volumes, subject)
        for one in found:
            kind = EventKind.REHEARSAL_FOUND if one.record is not None else EventKind.REHEARSAL_LOST
            step.log(kind, failover_id=one.failover_id, machines=one.machines, volumes=one.volumes)
    for one in found:
        if one.record is not None:
            undo.unmount(one.record)
            if undo.exported(one.record):
                _take_back_exports(runtime, volumes, subject, one.record, syncing)
        _destroy_machines(runtime, cloud, volumes, job, one)
        _delete_volumes(volumes, job, one)
        _delete_snapshots(volumes, job, one)
        if one.record is not None:
            with job.step("forget-rehearsal"):
                one.record.end(CLEANED)
    return found


def _take_back_exports(
    runtime: Runtime, volumes: VolumeClient, subject: Subject, record: Record, syncing: bool
) -> None:
    with ExitStack() as held:
        if syncing:
            try:
                held.enter_context(vm_lock(runtime.databases.oma, subject.uuid, f"cleanup {subject.name}"))
            except BusyError:
                return  # the sync that is under way has taken the replica's exports back itself, and made its own
        undo.take_back_exports(volumes, record)


def _destroy_machines(runtime: Runtime, cloud: Cloud, volumes: VolumeClient, job: Job, one: Remains) -> None:
    parent = one.record.id if one.record is not None else job.id
    jobs = TrackedJobs(runtime.databases.oma, "cleanup", job.correlation_id, parent)
    with job.step("destroy-machine") as step:
        for vm_id in one.machines:
            fate = destroy(cloud, volumes, vm_id, jobs)
            if fate is Destroyed.KEPT:
                one.kept.append(vm_id)
                step.log(EventKind.MACHINE_NOT_EXPUNGED, level="warning", vm_id=vm_id, why=STAYS)
            else:
                step.log(EventKind.MACHINE_DESTROYED, vm_id=vm_id)


def _delete_volumes(volumes: VolumeClient, job: Job, one: Remains) -> None:
    """Delete the rehearsal's volumes: the recorded ones, and what carries its tag without being recorded."""
    with job.step("delete-volumes") as step:
        for volume_id in one.volumes:
            volume = volumes.get(volume_id)
            if volume is not None and volume["vm_id"] is not None:
                if volume["export_name"]:  # a killed run was converting it
                    targets.fence(volumes, volume_id)
                volumes.detach(volume_id)
            # The root disk went with its machine; the daemon is told all the same, so that it forgets where it was.
            volumes.delete(volume_id)
            step.log(EventKind.VOLUME_DELETED, volume_id=volume_id)


def _delete_snapshots(volumes: VolumeClient, job: Job, one: Remains) -> None:
    """Delete the rehearsal's snapshots: the recorded ones, and what carries its name without being recorded."""
    with job.step("delete-snapshots") as step:
        for snapshot_id in one.snapshots:
            volumes.delete_snapshot(snapshot_id)
            step.log(EventKind.SNAPSHOT_DELETED, snapshot_id=snapshot_id)
