"""Live failover: the source is shut down, synced once more, and its volumes become a machine in CloudStack."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from migratekit_core.config.load import require
from migratekit_core.db.locks import Lock, vm_lock
from migratekit_core.db.schema import require_schema
from migratekit_core.errors import MigrateKitError, PreconditionError
from migratekit_core.failover import deploy, preflight
from migratekit_core.failover.preflight import Plan
from migratekit_core.failover.record import COMPLETED, FAILED, LIVE, Record, begin, unfinished
from migratekit_core.joblog import Job
from migratekit_core.joblog.tracker import describe
from migratekit_core.ossea.client import Cloud
from migratekit_core.redact import redact
from migratekit_core.replication import replica
from migratekit_core.replication.sync import SyncResult, failed_over, sync
from migratekit_core.runtime import Runtime
from migratekit_core.volumes.client import VolumeClient
from migratekit_core.volumes.names import host_name
from migratekit_core.vsphere import client, power
from migratekit_core.vsphere.inventory import VirtualMachine, find_vm, managed_object


@dataclass(frozen=True)
class FailoverResult:
    """What a failover made; times in seconds."""

    failover_id: str
    job_id: str
    vm_name: str
    destination_vm_id: str
    destination_name: str
    volume_ids: tuple[str, ...]
    networks: dict[str, str]
    shutdown: str
    final_sync: SyncResult | None
    downtime: float
    """From the begin of the shutdown until the new machine runs."""


STEPS = (
    "shut the source down (guest shutdown)",
    "final sync of what changed since the last one",
    "detach the volumes from the OMA: the point of no return",
    "deploy the machine around its root volume",
    "attach the data disks in order",
    "start it and wait until it runs",
)


def plan(runtime: Runtime, name: str, power_off: bool) -> Plan:
    """Check everything and return what a live failover would do; nothing is changed."""
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    with client.connect(runtime.vcenter) as service:
        vm = find_vm(service, name)
    found = replica.live_failover(runtime.databases.oma, vm.uuid)
    if found is not None and found.status == COMPLETED:
        raise failed_over(vm, found)
    left = unfinished(runtime.databases.oma, vm.uuid, LIVE)
    target = _target(runtime, Cloud(runtime.ossea), vm, left[0] if left else None, power_off)
    return Plan(vm.name, target.spec.name, target.mappings, STEPS)


def failover(runtime: Runtime, name: str, power_off: bool) -> FailoverResult:
    """Cut a machine over, or go on with a failover that was interrupted.

    Raises PreconditionError with every reason why it cannot be, before anything is changed; BusyError where another run
    works on the machine; and whatever a part reports, with what to do about a source that is off by then.
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    cloud = Cloud(runtime.ossea)
    with client.connect(runtime.vcenter) as service:
        vm = find_vm(service, name)
        with vm_lock(runtime.databases.oma, vm.uuid, f"failover {vm.name}") as lock:
            done = replica.live_failover(runtime.databases.oma, vm.uuid)
            if done is not None and done.status == COMPLETED:
                raise failed_over(vm, done)
            with runtime.tracker.job("failover", owner=vm.name) as job:
                return _run(runtime, lock, cloud, job, service, vm, power_off)


def _run(
    runtime: Runtime, lock: Lock, cloud: Cloud, job: Job, service: Any, vm: VirtualMachine, power_off: bool
) -> FailoverResult:
    left = unfinished(runtime.databases.oma, vm.uuid, LIVE)
    record = left[0] if left else None
    with job.step("preflight") as step:
        target = _target(runtime, cloud, vm, record, power_off)
        step.log("target", name=target.spec.name, networks=target.mappings)
    if record is None:
        found = replica.newest(runtime.databases.oma, vm.uuid)
        assert found is not None, "the preflight has seen it"
        record = begin(runtime.databases.oma, found.job, LIVE, target.mappings)
    volumes = runtime.volumes(job)
    began = time.monotonic()
    try:
        result = _cut_over(runtime, lock, cloud, volumes, job, service, vm, record, target, power_off, began)
        record.end(COMPLETED)
        return result
    except BaseException as error:
        record.end(FAILED, redact(describe(error)))
        if isinstance(error, MigrateKitError) and power.is_off(managed_object(service, vm)):
            committed = replica.live_failover(runtime.databases.oma, vm.uuid) is not None
            preflight.hint_source_is_off(error, vm, committed)
        raise
    finally:
        volumes.close()


def _cut_over(
    runtime: Runtime,
    lock: Lock,
    cloud: Cloud,
    volumes: VolumeClient,
    job: Job,
    service: Any,
    vm: VirtualMachine,
    record: Record,
    target: preflight.Target,
    power_off: bool,
    began: float,
) -> FailoverResult:
    managed = managed_object(service, vm)
    committed = replica.live_failover(runtime.databases.oma, vm.uuid) is not None
    final: SyncResult | None = None
    if committed and not power.is_off(managed):
        raise PreconditionError(
            f"{vm.name} runs again since its volumes were handed over",
            "what it has written since is not on them, and going on would lose it",
            "power it off and go on only if that may be lost; its new machine is "
            + (record.row().destination_vm_id or "not made yet"),
        )
    with job.step("shutdown-source") as step:
        settings = runtime.config.failover
        how = power.shut_down(managed, settings.shutdown_timeout, power_off or settings.power_off)
        step.log("source is off", how=how)
    if not committed:
        # The replication is a job of its own within this one, with steps and a row of its own.
        with job.step("final-sync"), runtime.tracker.job("replication", owner=vm.name, parent=job) as inner:
            final = sync(runtime, lock, inner, service, find_vm(service, vm.moref))
    disks = replica.newest(runtime.databases.oma, vm.uuid)
    assert disks is not None, "the preflight has seen it"
    volume_ids = [str(disk.ossea_volume_id) for disk in disks.disks]
    lock.ensure()
    record.commit()
    with job.step("detach-volumes"):
        for volume_id in volume_ids:
            volume = volumes.get(volume_id)
            if volume is not None and volume["linux_state"] == "attached":
                volumes.unexport(volume_id)
                volumes.detach(volume_id)
    vm_id = deploy.build(runtime, cloud, volumes, job, record, target.spec, volume_ids, vm.uuid)
    deploy.start(cloud, runtime, job, record, vm_id)
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
        downtime=time.monotonic() - began,
    )


def _target(
    runtime: Runtime, cloud: Cloud, vm: VirtualMachine, record: Record | None, power_off: bool
) -> preflight.Target:
    found = replica.newest(runtime.databases.oma, vm.uuid)
    name = host_name(vm.name)
    adopt = record is not None and record.state().get("deploy_intent") == name
    allowed = power_off or runtime.config.failover.power_off
    return preflight.check(runtime, cloud, vm, found, test=False, vm_name=name, adopt=adopt, power_off=allowed)
