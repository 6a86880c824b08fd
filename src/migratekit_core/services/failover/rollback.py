"""The way back: the destination is stopped, its volumes go back to replication, the source is started again.

The same steps take a failover back that failed, or was cancelled, before its point of no return. Each looks before it
acts, so running them again finishes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import ERROR, GONE, OFF, STOPPED, Destroyed
from migratekit_core.adapters.cloudstack.tracking import TrackedJobs
from migratekit_core.adapters.vsphere import client, power
from migratekit_core.adapters.vsphere.inventory import VirtualMachine, find_vm, managed_object
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    BusyError,
    CancelledError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
)
from migratekit_core.common.hints import hint, joined, migratekit
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.locks import Lock, whole_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import ahead
from migratekit_core.services.failover import record as records
from migratekit_core.services.failover.destination import (
    KEPT_MACHINE,
    STANDING,
    STAYS,
    destroy,
    machine_of,
    settle,
)
from migratekit_core.services.failover.record import LIVE, ROLLED_BACK, Record
from migratekit_core.services.guests import undo
from migratekit_core.services.replication import leftover, removals, replica
from migratekit_core.services.replication.replica import KEPT, UNKNOWN
from migratekit_core.volumed.client import VolumeClient

PATIENCE_SECONDS = 120.0
"""How long a volume may be busy with what a killed run had begun."""
STARTED, RAN, LEFT_OFF = "started", "was running", "left off"


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did."""

    failover_id: str
    job_id: str | None
    """None where it had been rolled back before."""
    vm_name: str
    destination_vm_id: str | None
    """The machine that was destroyed."""
    volume_ids: tuple[str, ...]
    source: str
    """STARTED, RAN or LEFT_OFF (it was off before the failover)."""
    content: str
    """KEPT: the next sync is incremental; UNKNOWN: it copies, or compares, everything."""
    machine_kept: bool = False
    """CloudStack keeps the machine, destroyed: the account may not expunge (destination.STAYS)."""
    machine_standing: bool = False
    """The machine was never started and stays, stopped and without disks, for the next failover: the account may not
    expunge."""


@dataclass(frozen=True)
class RollbackPlan:
    """A rollback that was not run."""

    vm_name: str
    failover_id: str
    destination_vm_id: str | None
    steps: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """What going back works with."""

    runtime: Runtime
    lock: Lock
    cloud: Cloud
    volumes: VolumeClient
    vm: VirtualMachine
    managed: Any
    record: Record


def plan(runtime: Runtime, name: str) -> RollbackPlan:
    """Return what a rollback would do; nothing is changed. Raises what `rollback` would before it changes anything."""
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    cloud = runtime.cloud(at_once=True)
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        off = power.is_off(managed_object(service, vm))
    record = _record(runtime, vm)
    vm_id = machine_of(cloud, record)
    volumes = runtime.volumes()
    volume_ids = list(_volume_ids(runtime, vm))
    holders = {volume_id: _holder(volumes, volume_id) for volume_id in volume_ids}
    volumes.close()
    steps: list[str] = []
    if record.row().status != ROLLED_BACK:
        if vm_id is not None:
            state = compute.settled(cloud, vm_id)
            steps += [f"stop machine {vm_id} ({state})", "take the replica's volumes off it"]
        if off and _was_on(record):
            steps.append(f"start {vm.name} in vCenter")
        if vm_id is not None:
            steps.append(f"destroy machine {vm_id}, which holds none of the replica's volumes by then")
            if compute.may_expunge(cloud) is False:
                if record.state().get("start_intent"):
                    steps[-1] += f"; {STAYS}"
                else:
                    steps[-1] = f"leave machine {vm_id}, stopped and without disks, for the next failover"
        if record.committed():
            steps.append("attach the volumes to the OMA and go on with replication")
            if _content(cloud, record, vm_id, volume_ids, holders) == UNKNOWN:
                steps.append(f"the new machine has run: what it wrote is lost, and {NEXT_SYNC}")
    return RollbackPlan(vm.name, record.id, vm_id, tuple(steps))


NEXT_SYNC = "the next sync copies everything, or with --compare what differs"


def rollback(runtime: Runtime, name: str) -> RolledBack:
    """Take a machine's failover back, also one that died on its way; one that was rolled back is left as it is.

    Raises PreconditionError where there was none, or the source is gone, BusyError where another run works on the
    machine, and whatever a part reports.
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    cloud = runtime.cloud()
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        with whole_lock(runtime.databases.oma, vm.uuid, f"rollback {vm.name}") as lock:
            record = _record(runtime, vm)
            managed = managed_object(service, vm)
            if record.row().status == ROLLED_BACK:
                source = LEFT_OFF if power.is_off(managed) else RAN
                content = record.state().get("content", KEPT)
                return RolledBack(record.id, None, vm.name, None, _volume_ids(runtime, vm), source, content)
            with runtime.tracker.job("rollback", owner=vm.name) as job:
                volumes = runtime.volumes(job, PATIENCE_SECONDS)
                try:
                    return go_back(Way(runtime, lock, cloud, volumes, vm, managed, record), job)
                except MigrateKitError as error:
                    to_go_on(error, vm)
                    raise
                except KeyboardInterrupt:
                    raise to_go_on(
                        CancelledError(
                            f"the rollback of {vm.name} was interrupted",
                            code=ErrorCode.CANCELLED,
                            facts={"vm": vm.name},
                        ),
                        vm,
                    ) from None
                finally:
                    volumes.close()


def to_go_on(error: MigrateKitError, vm: VirtualMachine) -> MigrateKitError:
    """Return an error that says how to go on with the rollback that it has stopped."""
    way = hint("the machine may be off on both sides: go on with: ", migratekit("rollback", vm.name))
    error.todo = joined("; ", (error.todo, way))
    return error


def _record(runtime: Runtime, vm: VirtualMachine) -> Record:
    found = records.newest(runtime.databases.oma, vm.uuid, LIVE)
    if found is None:
        raise PreconditionError(
            f"{vm.name} was never failed over",
            "there is nothing to take back",
            hint("a rehearsal is taken away with: ", migratekit("cleanup", vm.name)),
            code=ErrorCode.NOT_FAILED_OVER,
            facts={"vm": vm.name},
        )
    return found


def go_back(way: Way, job: Job, at_once: bool = False) -> RolledBack:
    """Give everything back within a job and a lock of the caller's.

    `at_once`: the failover has failed just now, in this process, so nobody can have started a machine that it did not.
    """
    record, vm, volumes = way.record, way.vm, way.volumes
    way.lock.ensure()
    volume_ids = list(_volume_ids(way.runtime, vm)) if record.committed() else []
    with job.step("find-machine") as step:
        settle(way.runtime.databases.oma, way.cloud, record)
        vm_id = machine_of(way.cloud, record)
        holders = {volume_id: _holder(volumes, volume_id) for volume_id in volume_ids}
        # Written down before anything is changed: afterwards nobody could tell any more.
        record.roll_back(_content(way.cloud, record, vm_id, volume_ids, {} if at_once else holders))
        record.joined(job.id)
        if vm_id is not None and record.row().destination_vm_id is None:
            record.deployed(vm_id, None, job.correlation_id)
        content = record.state()["content"]
        step.log(EventKind.ROLLBACK_BEGUN, vm_id=vm_id, content=content)
    if vm_id is not None:
        _disarm(way, job, vm_id, volume_ids)
    with way.runtime.undoing(job) as undone, undone.step("start-source") as step:
        source = _start_source(way, vm_id)
        step.log(EventKind.SOURCE_BACK, source=source, vm=vm.name)
    _remove_snapshots(way, job)
    ahead.take_back(volumes, job, record, vm)
    if vm_id is not None:
        _destroy(way, job, vm_id, volume_ids)
    kept = record.state().get(KEPT_MACHINE) is not None
    content = undo.put_back(way.runtime, volumes, job, record) or content
    if volume_ids:
        volume_ids = list(_volume_ids(way.runtime, vm))
        with job.step("attach-volumes") as step:
            for volume_id in volume_ids:
                # One that somebody has deleted is made anew by the next sync.
                if volumes.get(volume_id) is None:
                    continue
                try:
                    volumes.attach(volume_id)
                    step.log(EventKind.VOLUME_BACK, volume_id=volume_id)
                except MigrateKitError as error:
                    if not isinstance(error, BusyError) and error.code not in ahead.OMA_UNFIT:
                        raise
                    # The OMA takes no disk now: the next sync attaches it, and the way back goes on.
                    step.log(EventKind.VOLUME_LEFT_DETACHED, level="warning", volume_id=volume_id, error=str(error))
    with job.step("hand-back") as step:
        record.hand_back(content)
        step.log(EventKind.REPLICATION_ALLOWED, content=content)
    stands = record.state().get(STANDING) is not None
    return RolledBack(record.id, job.id, vm.name, vm_id, tuple(volume_ids), source, content, kept, stands)


def _disarm(way: Way, job: Job, vm_id: str, volume_ids: list[str]) -> None:
    """Stop the new machine and take its volumes off it: without its root disk it cannot start again."""
    jobs = TrackedJobs(way.runtime.databases.oma, "rollback", job.correlation_id, way.record.id)
    with job.step("stop-machine") as step:
        before = compute.stop(way.cloud, vm_id, jobs)
        step.log(EventKind.MACHINE_STOPPED, vm_id=vm_id, before=before)
    with job.step("take-volumes-off") as step:
        for volume_id in volume_ids:
            if _holder(way.volumes, volume_id) != vm_id:
                continue
            try:
                way.volumes.detach(volume_id)
                step.log(EventKind.VOLUME_TAKEN_OFF, volume_id=volume_id, vm_id=vm_id)
            except MigrateKitError as error:
                # CloudStack takes nothing off a machine in Error, and nobody starts one: the source comes first.
                if before != ERROR:
                    raise
                step.log(
                    EventKind.VOLUME_NOT_TAKEN_OFF, level="warning", volume_id=volume_id, vm_id=vm_id, error=str(error)
                )


def _start_source(way: Way, vm_id: str | None) -> str:
    """Start the source where the failover has shut it down. Raises OperationFailedError while the destination runs."""
    if not power.is_off(way.managed) and not _goes_down(way):
        return RAN
    if not _was_on(way.record):
        return LEFT_OFF
    state = compute.settled(way.cloud, vm_id) if vm_id is not None else GONE
    if state not in OFF:
        raise OperationFailedError(
            f"{way.vm.name} is not started",
            f"its new machine {vm_id} is {state}, and both must never run",
            hint("stop that machine in CloudStack, then run: ", migratekit("rollback", way.vm.name)),
            code=ErrorCode.MACHINE_IN_WAY,
            facts={"vm": way.vm.name, "vm_id": vm_id, "state": state},
        )
    way.lock.ensure()
    power.start(way.managed)
    return STARTED


def _remove_snapshots(way: Way, job: Job) -> None:
    """Remove the snapshot of a last sync that failed. It comes after the source, and holds nothing else up."""
    engine, vm = way.runtime.databases.oma, way.vm
    if not leftover.owed(engine, vm.uuid):
        return
    try:
        with (
            way.runtime.undoing(job) as undone,
            undone.step("remove-snapshot") as step,
            client.faults(f"the snapshot of {vm.name}"),
        ):
            removed = removals.finish(way.runtime, step, vm, way.managed, killed=True)
            step.log(EventKind.LEFTOVERS_CLEANED, snapshots=removed)
    except MigrateKitError as error:
        way.runtime.observer.note(f"a snapshot of {vm.name} is left: {error}; {leftover.removes(vm.name)}")


def _goes_down(way: Way) -> bool:
    """Return whether the source went off that was asked to shut down, and nobody has waited for: as long as it may take
    for that, it may still do so."""
    asked = way.record.state().get("shutdown_asked")
    if asked is None:
        return False
    left = way.runtime.config.failover.shutdown_timeout - (utcnow() - datetime.fromisoformat(asked)).total_seconds()
    if left > 0:
        way.runtime.observer.note(
            f"the guest of {way.vm.name} was asked to shut down; waiting, up to {left:.0f} s, to start it if it does"
        )
    off = power.goes_off(way.managed, left)
    way.record.remember(shutdown_asked=None)
    return off


def _destroy(way: Way, job: Job, vm_id: str, volume_ids: list[str]) -> None:
    """Destroy the new machine. Its root disk would go with it, so none of the replica's volumes may be on it."""
    jobs = TrackedJobs(way.runtime.databases.oma, "rollback", job.correlation_id, way.record.id)
    with job.step("destroy-machine") as step:
        left = [volume_id for volume_id in volume_ids if _holder(way.volumes, volume_id) == vm_id]
        if left:
            raise BusyError(
                f"machine {vm_id} is not destroyed",
                f"it holds the replica's volumes {', '.join(left)} again",
                hint("see who works on it, then run: ", migratekit("rollback", way.vm.name)),
                code=ErrorCode.MACHINE_IN_WAY,
                facts={"vm": way.vm.name, "vm_id": vm_id},
            )
        kept = {KEPT_MACHINE: vm_id}
        state = way.record.state()
        # One that never ran is as good for the next failover, and one that is destroyed and kept has its addresses.
        idle = (
            not state.get("start_intent")
            and state.get("content") == KEPT
            and compute.settled(way.cloud, vm_id) in STOPPED
        )
        fate = destroy(way.cloud, way.volumes, vm_id, jobs, lambda: way.record.remember(**kept), only_expunged=idle)
        root = way.record.state().get("template_root")
        if root is not None:
            way.volumes.delete(root)
            way.record.remember(template_root=None)
        if fate is Destroyed.LEFT:
            way.record.remember(**{STANDING: vm_id})
            step.log(EventKind.MACHINE_LEFT_STOPPED, vm_id=vm_id)
        elif fate is Destroyed.KEPT:
            way.record.remember(**kept)
            step.log(EventKind.MACHINE_NOT_EXPUNGED, level="warning", vm_id=vm_id, why=STAYS)
        else:
            if fate is Destroyed.EXPUNGED:
                way.record.remember(**{KEPT_MACHINE: None})
            step.log(EventKind.MACHINE_ABSENT if fate is Destroyed.ABSENT else EventKind.MACHINE_DESTROYED, vm_id=vm_id)


def _content(
    cloud: Cloud, record: Record, vm_id: str | None, volume_ids: list[str], holders: dict[str, str | None]
) -> str:
    """Return whether the volumes still hold what the last sync left on them: not where a machine has, or may have, run.

    Somebody may have started a machine that was half made, and stopped it again, so one that holds a volume counts.
    """
    state = record.state()
    if state.get("start_intent") or state.get("content") == UNKNOWN:
        return UNKNOWN
    if vm_id is None:
        return KEPT
    held = any(holders.get(volume_id) == vm_id for volume_id in volume_ids)
    return UNKNOWN if held or compute.settled(cloud, vm_id) not in OFF else KEPT


def _was_on(record: Record) -> bool:
    """Return whether the failover has shut the source down, so that going back means starting it."""
    state = record.state()
    return bool(state.get("source_was_on") and state.get("shutdown_intent"))


def _volume_ids(runtime: Runtime, vm: VirtualMachine) -> tuple[str, ...]:
    found = replica.newest(runtime.databases.oma, vm.uuid)
    disks = found.disks if found is not None else ()
    return tuple(str(disk.ossea_volume_id) for disk in disks if disk.ossea_volume_id is not None)


def _holder(volumes: VolumeClient, volume_id: str) -> str | None:
    """Return the machine that a volume is attached to."""
    volume = volumes.get(volume_id)
    return str(volume["vm_id"]) if volume is not None and volume["vm_id"] is not None else None
