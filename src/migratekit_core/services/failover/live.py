"""Live failover: the source is shut down, synced once more, and its volumes become a machine in CloudStack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.vsphere import client, consolidation, power, tasks
from migratekit_core.adapters.vsphere.inventory import VirtualMachine, find_vm, managed_object
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.config.load import require
from migratekit_core.context import Runtime
from migratekit_core.db.locks import Lock, whole_lock
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import ahead, cutover, deploy, downtime, giving_up, machine, moving, preflight
from migratekit_core.services.failover.cutover import AT_ONCE, Prediction, When
from migratekit_core.services.failover.destination import settle, take_over
from migratekit_core.services.failover.downtime import Downtime
from migratekit_core.services.failover.preflight import Plan
from migratekit_core.services.failover.record import COMPLETED, LIVE, ROLLING_BACK, Record, begin, unfinished
from migratekit_core.services.failover.rollback import PATIENCE_SECONDS, Way, go_back, to_go_on
from migratekit_core.services.guests import conversion
from migratekit_core.services.replication import leftover, removals, replica
from migratekit_core.services.replication.removals import Teller
from migratekit_core.services.replication.sync import Options as SyncOptions
from migratekit_core.services.replication.sync import SyncResult, failed_over, sync
from migratekit_core.services.replication.verify import verify_within

REMOVAL_SECONDS = 30.0
"""How long the cut-over waits for the final sync's snapshot: the machine is away meanwhile."""


@dataclass(frozen=True)
class Options:
    """How to cut over."""

    power_off: bool = False
    """Power the source off where its guest does not shut down."""
    verify: bool = False
    """Compare every disk with its volume by digests before the volumes are handed over."""
    when: When = AT_ONCE
    convert: bool | None = None
    """Convert the guest, or not; None: as configured."""


@dataclass(frozen=True)
class FailoverResult:
    """What a failover made."""

    failover_id: str
    job_id: str
    vm_name: str
    destination_vm_id: str
    destination_name: str
    volume_ids: tuple[str, ...]
    networks: dict[str, str]
    shutdown: str
    final_sync: SyncResult | None
    predicted: Prediction | None
    downtime: Downtime


NO_RETURN = "the point of no return"
STEPS = (
    "decide whether the guest has to be converted",
    "deploy the new machine, stopped, from the template, and delete the root disk that comes with it",
    "try with an empty volume whether CloudStack lets it be the root disk",
    "have the replica's volumes attached to the OMA, where they have given way to others",
    "shut the source down (guest shutdown)",
    "final sync of what changed since the last one",
    "verify that every disk is on its volume, and hand the volumes over: the source is not replicated any more",
    "convert the guest where it needs that (virt-v2v-in-place), behind snapshots of the volumes",
    "detach each volume from the OMA and attach it to the new machine, in order",
    f"start it: {NO_RETURN}; until then Ctrl-C, or an error, gives everything back and starts the source",
    "wait until it runs",
)


def plan(runtime: Runtime, name: str, power_off: bool) -> Plan:
    """Check everything and return what a live failover would do; nothing is changed."""
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        found = replica.live_failover(runtime.databases.oma, vm.uuid)
        if found is not None and found.status == COMPLETED:
            raise failed_over(vm, found)
        left = unfinished(runtime.databases.oma, vm.uuid, LIVE)
        cloud = runtime.cloud(at_once=True)
        record = left[0] if left else None
        case = ahead.case(runtime, vm, record, power_off, ahead.left_for(runtime, cloud, vm, record))
        return preflight.plan(runtime, preflight.examine(runtime, cloud, case, service), STEPS)


def failover(runtime: Runtime, name: str, options: Options) -> FailoverResult:
    """Cut a machine over, or go on with a failover that was interrupted.

    Raises PreconditionError with every reason why it cannot be, before anything is changed; BusyError where another run
    works on the machine; CancelledError where it was asked to stop; and whatever a part reports. Before the point of no
    return everything is given back then, and the source started; after it the error says what to run.
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    cloud = runtime.cloud()
    with client.connect(runtime.vcenter, runtime.observer.note) as service:
        vm = find_vm(service, name)
        with whole_lock(runtime.databases.oma, vm.uuid, f"failover {vm.name}") as lock:
            done = replica.live_failover(runtime.databases.oma, vm.uuid)
            if done is not None and done.status == COMPLETED:
                raise failed_over(vm, done)
            with runtime.tracker.job("failover", owner=vm.name) as job:
                return _run(Parts(runtime, lock, cloud, job, service, vm, managed_object(service, vm), options))


@dataclass(frozen=True)
class Parts:
    """What a failover works with."""

    runtime: Runtime
    lock: Lock
    cloud: Cloud
    job: Job
    service: Any
    vm: VirtualMachine
    managed: Any
    options: Options

    def way_back(self, record: Record) -> Way:
        """Return what going back works with."""
        volumes = self.runtime.volumes(self.job, PATIENCE_SECONDS)
        return Way(self.runtime, self.lock, self.cloud, volumes, self.vm, self.managed, record)


def _run(parts: Parts) -> FailoverResult:
    runtime, job, vm = parts.runtime, parts.job, parts.vm
    record = _left(parts)
    left = ahead.left_for(runtime, parts.cloud, vm, record)
    began = record is not None and bool(record.state().get("shutdown_intent"))
    try:
        with job.step("preflight") as step:
            case = ahead.case(runtime, vm, record, parts.options.power_off, left)
            target = preflight.check(runtime, parts.cloud, case, parts.service)
            if not began:
                conversion.preflight(runtime.config.failover, vm, parts.options.convert)
            step.log(EventKind.TARGET_CHOSEN, name=target.spec.name, networks=target.mappings)
    except MigrateKitError as error:
        if began:
            giving_up.half_way(error, vm)
        raise
    if record is None:
        found = replica.newest(runtime.databases.oma, vm.uuid)
        assert found is not None, "the preflight has seen it"
        was_on = not power.is_off(parts.managed)
        record = begin(runtime.databases.oma, found.job, LIVE, target.mappings, source_was_on=was_on)
    record.joined(job.id)
    job.log(EventKind.FAILOVER_JOINED, failover_id=record.id)
    predicted = None
    try:
        if left is not None:
            with job.step("take-over-machine") as step:
                take_over(left, record, job.correlation_id)
                step.log(EventKind.MACHINE_TAKEN_OVER, vm_id=left.vm_id, failover_id=left.record.id)
        _decide_conversion(parts, record)
        vm_id = _make(parts, record, target)
        if not began and parts.options.when.waits:
            predicted = cutover.wait(runtime, parts.lock, job, parts.service, vm, parts.options.when)
            # Somebody may have taken it away meanwhile.
            vm_id = _make(parts, record, target)
            record.remember(source_was_on=not power.is_off(parts.managed))
        how, final = _hand_over(parts, record)
        volume_ids = _move(parts, record, vm_id)
        _start(parts, record, vm_id)
        record.end(COMPLETED)
    except BaseException as error:
        told = giving_up.after(error, parts.way_back(record), job)
        if told is error:
            raise
        raise told from error
    measured = downtime.of_failover(runtime.databases.oma, record.id)
    assert measured is not None, "the source was shut down"
    record.remember(downtime_seconds=measured.seconds)
    return FailoverResult(
        failover_id=record.id,
        job_id=job.id,
        vm_name=vm.name,
        destination_vm_id=vm_id,
        destination_name=target.spec.name,
        volume_ids=tuple(volume_ids),
        networks=target.mappings,
        shutdown=how,
        final_sync=final,
        predicted=predicted,
        downtime=measured,
    )


def _left(parts: Parts) -> Record | None:
    """Return the failover that a former run left, to go on with; one that was on its way back is taken back first."""
    left = unfinished(parts.runtime.databases.oma, parts.vm.uuid, LIVE)
    if not left:
        return None
    if left[0].row().status != ROLLING_BACK:
        settle(parts.runtime.databases.oma, parts.cloud, left[0])
        return left[0]
    way = parts.way_back(left[0])
    try:
        with parts.runtime.tracker.job("rollback", owner=parts.vm.name, parent=parts.job) as inner:
            go_back(way, inner)
    except MigrateKitError as error:
        to_go_on(error, parts.vm)
        raise
    finally:
        way.volumes.close()
    return None


def _hand_over(parts: Parts, record: Record) -> tuple[str, SyncResult | None]:
    """Bring the volumes to what the source was when it went down; from then on they are not replicated into."""
    runtime, job, vm, managed = parts.runtime, parts.job, parts.vm, parts.managed
    committed = record.committed()
    if committed and not power.is_off(managed):
        raise PreconditionError(
            f"{vm.name} runs again since its volumes were handed over",
            "what it has written since is not on them, and going on would lose it",
            hint(
                "keep it with: ",
                migratekit("rollback", vm.name),
                "; or power it off, if that may be lost, and run this again",
            ),
            code=ErrorCode.SOURCE_RUNS,
            facts={"vm": vm.name},
        )
    if not committed:
        _take_places(parts)
        _finish_removals(parts)
    job.stop_if_cancelled()
    with job.step(downtime.BEGINS) as step:
        settings = runtime.config.failover
        record.remember(shutdown_intent=True, shutdown_asked=utcnow().isoformat())
        try:
            with tasks.watched(Teller(step, runtime.observer.note).tell):
                how = power.shut_down(managed, settings.shutdown_timeout, parts.options.power_off or settings.power_off)
        except UnreachableError:
            raise
        except MigrateKitError:
            record.remember(shutdown_asked=None)  # it was refused, or waited for as long as it may take
            raise
        record.remember(shutdown_asked=None)
        step.log(EventKind.SOURCE_OFF, how=how)
    if committed:
        return how, None
    job.stop_if_cancelled()
    # The replication is a job of its own within this one, with steps and a row of its own.
    with job.step("final-sync"), runtime.tracker.job("replication", owner=vm.name, parent=job) as inner:
        options = SyncOptions(removal_wait=REMOVAL_SECONDS, leave_snapshot=True)
        final = sync(runtime, parts.lock, inner, parts.service, find_vm(parts.service, vm.moref), options)
    job.stop_if_cancelled()
    _verify(parts, final)
    with job.step("hand-over"):
        parts.lock.ensure()
        record.commit()
    return how, final


def _finish_removals(parts: Parts) -> None:
    """Finish what the last sync has left at the source while that still runs: no snapshot can be taken before."""
    vm, managed = parts.vm, parts.managed
    if not leftover.pending(parts.runtime.databases.oma, vm.uuid) and not consolidation.needed(managed):
        return
    with parts.job.step("remove-snapshot") as step:
        removals.finish(parts.runtime, step, vm, managed)


def _take_places(parts: Parts) -> None:
    """Have the replica's volumes attached to the OMA while the source still runs: where that is full, nothing is
    shut down for it. With the machine held, they stay."""
    found = replica.newest(parts.runtime.databases.oma, parts.vm.uuid)
    assert found is not None, "the preflight has seen it"
    volumes = parts.runtime.volumes(parts.job, PATIENCE_SECONDS)
    try:
        with parts.job.step("attach-volumes") as step:
            for disk in found.disks:
                volume = volumes.get(str(disk.ossea_volume_id))
                if volume is not None and volume["linux_state"] != "attached":
                    parts.job.stop_if_cancelled()
                    volumes.attach(volume["id"])
                    step.log(EventKind.VOLUME_ATTACHED, volume_id=volume["id"])
    finally:
        volumes.close()


def _verify(parts: Parts, final: SyncResult) -> None:
    """Raise OperationFailedError unless every disk is on its volume: by the records, or by digests where asked."""
    runtime, job, vm = parts.runtime, parts.job, parts.vm
    with job.step("verify") as step:
        found = replica.newest(runtime.databases.oma, vm.uuid)
        assert found is not None, "it was synced just now"
        missing = [disk.label for disk in found.disks if disk.disk_change_id is None or disk.ossea_volume_id is None]
        if missing or found.job.id != final.job_id or len(found.disks) != len(vm.disks):
            raise OperationFailedError(
                f"the replica of {vm.name} is not complete",
                f"not synced: {', '.join(missing) or 'its disks changed'}",
                "run the failover again",
                code=ErrorCode.REPLICA_INCOMPLETE,
                facts={"vm": vm.name},
            )
        if not (parts.options.verify or runtime.config.failover.verify):
            step.log(EventKind.DISKS_SYNCED, disks=len(found.disks))
            return
        with runtime.tracker.job("verify", owner=vm.name, parent=job) as inner:
            result = verify_within(runtime, parts.lock, inner, parts.service, find_vm(parts.service, vm.moref))
        if not result.identical:
            differing = ", ".join(disk.label for disk in result.disks if not disk.identical)
            raise OperationFailedError(
                f"the replica of {vm.name} differs from its source",
                f"by digests, on {differing}",
                hint("repair it with: ", migratekit("replicate", vm.name, "--compare")),
                code=ErrorCode.DATA_DIFFERS,
                facts={"vm": vm.name},
            )
        step.log(EventKind.DIGESTS_IDENTICAL, disks=len(result.disks))


def _decide_conversion(parts: Parts, record: Record) -> None:
    """Decide while the source still runs: what a conversion lacks must not be found out during the downtime."""
    parts.job.stop_if_cancelled()
    found = replica.newest(parts.runtime.databases.oma, parts.vm.uuid)
    assert found is not None, "the preflight has seen it"
    root = str(found.disks[0].ossea_volume_id)
    volumes = parts.runtime.volumes(parts.job, PATIENCE_SECONDS)
    try:
        conversion.decide(parts.runtime, volumes, parts.job, record, parts.vm, parts.options.convert, root)
    finally:
        volumes.close()


def _make(parts: Parts, record: Record, target: preflight.Target) -> str:
    """Have the new machine be there, stopped, without disks; return its id. A failover that an earlier version has
    begun makes it now, whatever is done already."""
    runtime, job, vm = parts.runtime, parts.job, parts.vm
    volume_ids = _volume_ids(parts)
    converted = bool(record.state().get(conversion.DECIDED))
    spec = machine.suited(target.spec, vm, runtime.config.failover, converted)
    volumes = runtime.volumes(job, PATIENCE_SECONDS)
    try:
        return ahead.make(runtime, parts.cloud, volumes, job, record, spec, vm, volume_ids)
    finally:
        volumes.close()


def _volume_ids(parts: Parts) -> list[str]:
    """Return the replica's volumes, in the order of the disks."""
    found = replica.newest(parts.runtime.databases.oma, parts.vm.uuid)
    assert found is not None, "the preflight has seen it"
    return [str(disk.ossea_volume_id) for disk in found.disks]


def _move(parts: Parts, record: Record, vm_id: str) -> list[str]:
    """Convert the guest where that was decided, and have the new machine hold the volumes; return them."""
    runtime, job, vm = parts.runtime, parts.job, parts.vm
    volumes = runtime.volumes(job, PATIENCE_SECONDS)
    try:
        job.stop_if_cancelled()
        conversion.convert_replica(runtime, volumes, job, record, vm)
        volume_ids = _volume_ids(parts)
        job.stop_if_cancelled()
        moving.move(volumes, job, vm_id, volume_ids)
    finally:
        volumes.close()
    return volume_ids


def _start(parts: Parts, record: Record, vm_id: str) -> None:
    """Start the new machine. Written down before: from here on it may write, and going back loses that."""
    parts.job.stop_if_cancelled()
    parts.lock.ensure()
    if not power.is_off(parts.managed):
        raise PreconditionError(
            f"{parts.vm.name} runs again, so its new machine is not started",
            "somebody has powered it on in vCenter, and both must never run",
            "power it off if what it writes may be lost, then run this again",
            code=ErrorCode.SOURCE_RUNS,
            facts={"vm": parts.vm.name},
        )
    with parts.job.step("no-return"):
        back = hint("go back with: ", migratekit("rollback", parts.vm.name))
        parts.job.point_of_no_return(f"{NO_RETURN} is passed", back)
        record.remember(start_intent=True)
    parts.runtime.observer.note(
        f"{NO_RETURN} is passed: the new machine starts; going back ({migratekit('rollback')}) loses what it writes"
    )
    deploy.start(parts.cloud, parts.runtime, parts.job, record, vm_id)
