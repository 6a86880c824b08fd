"""Test failover: a machine made of copies of the replicated volumes, in the test network. Replication goes on."""

from __future__ import annotations

import time
from dataclasses import dataclass

from migratekit_core.config.load import require
from migratekit_core.db.locks import vm_lock
from migratekit_core.db.schema import require_schema
from migratekit_core.failover import deploy, preflight
from migratekit_core.failover.preflight import Plan
from migratekit_core.failover.record import COMPLETED, FAILED, TEST, Record, begin
from migratekit_core.joblog import Job
from migratekit_core.joblog.tracker import describe
from migratekit_core.ossea.client import Cloud
from migratekit_core.redact import redact
from migratekit_core.replication import replica
from migratekit_core.runtime import Runtime
from migratekit_core.volumes.client import VolumeClient
from migratekit_core.volumes.names import TAG, host_name
from migratekit_core.vsphere import client
from migratekit_core.vsphere.inventory import VirtualMachine, find_vm


@dataclass(frozen=True)
class RehearsalResult:
    """What a rehearsal made; time in seconds."""

    failover_id: str
    job_id: str
    vm_name: str
    destination_vm_id: str
    destination_name: str
    volume_ids: tuple[str, ...]
    snapshot_ids: tuple[str, ...]
    networks: dict[str, str]
    seconds: float


STEPS = (
    "snapshot the replicated volumes",
    "make volumes from the snapshots",
    "deploy a machine around them in the test network",
    "start it and wait until it runs",
)


def plan(runtime: Runtime, name: str) -> Plan:
    """Check everything and return what a rehearsal would do; nothing is changed."""
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    with client.connect(runtime.vcenter) as service:
        vm = find_vm(service, name)
    target = _target(runtime, Cloud(runtime.ossea), vm, "0" * 8)
    return Plan(vm.name, target.spec.name, target.mappings, STEPS)


def rehearse(runtime: Runtime, name: str) -> RehearsalResult:
    """Make a machine from the newest replica of `name`, in the test network; `cleanup` takes it away again.

    Raises PreconditionError with every reason why it cannot be made, BusyError while the machine is being synced.
    """
    require(runtime.config, "vcenter", "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    began = time.monotonic()
    cloud = Cloud(runtime.ossea)
    with client.connect(runtime.vcenter) as service:
        vm = find_vm(service, name)
    with (
        vm_lock(runtime.databases.oma, vm.uuid, f"test-failover {vm.name}"),
        runtime.tracker.job("test-failover", owner=vm.name) as job,
    ):
        with job.step("preflight"):
            _target(runtime, cloud, vm, "0" * 8)
        found = replica.newest(runtime.databases.oma, vm.uuid)
        assert found is not None, "the preflight has seen it"
        record = begin(runtime.databases.oma, found.job, TEST, {})
        volumes = runtime.volumes(job)
        try:
            target = _target(runtime, cloud, vm, record.id[:8])
            sources = [str(disk.ossea_volume_id) for disk in found.disks]
            snapshots = take_snapshots(volumes, job, record, sources)
            clones = make_clones(volumes, job, record, vm, snapshots)
            vm_id = deploy.build(runtime, cloud, volumes, job, record, target.spec, clones, vm.uuid)
            deploy.start(cloud, runtime, job, record, vm_id)
            record.end(COMPLETED)
        except BaseException as error:
            record.end(FAILED, redact(describe(error)))
            raise
        finally:
            volumes.close()
    return RehearsalResult(
        failover_id=record.id,
        job_id=job.id,
        vm_name=vm.name,
        destination_vm_id=vm_id,
        destination_name=target.spec.name,
        volume_ids=tuple(clones),
        snapshot_ids=tuple(snapshots),
        networks=target.mappings,
        seconds=time.monotonic() - began,
    )


def snapshot_name(record: Record) -> str:
    """Return the name of a rehearsal's snapshots: cleanup finds by it what a killed run did not record."""
    return f"test-{record.id[:8]}"


def take_snapshots(volumes: VolumeClient, job: Job, record: Record, sources: list[str]) -> list[str]:
    """Snapshot the volumes; which ones is written down before the first."""
    record.remember(snapshot_intents=sources)
    snapshots = []
    with job.step("snapshot-volumes") as step:
        for volume_id in sources:
            key = f"snapshot-{record.id}-{volume_id}"
            taken = volumes.snapshot(volume_id, snapshot_name(record), key)["snapshot_id"]
            snapshots.append(taken)
            record.remember(snapshots=snapshots)
            step.log("snapshot taken", volume_id=volume_id, snapshot_id=taken)
    return snapshots


def make_clones(volumes: VolumeClient, job: Job, record: Record, vm: VirtualMachine, snapshots: list[str]) -> list[str]:
    """Make a volume from each snapshot; they carry the rehearsal's id as a tag."""
    clones: list[str] = []
    tags = {TAG: vm.uuid, f"{TAG}-vm": vm.name, f"{TAG}-failover": record.id}
    with job.step("clone-volumes") as step:
        for index, snapshot_id in enumerate(snapshots):
            key = f"clone-{record.id}-{snapshot_id}"
            made = volumes.clone(snapshot_id, f"{vm.name}-test-{index}", tags, key)["volume_id"]
            clones.append(made)
            record.remember(clones=clones)
            step.log("volume made", snapshot_id=snapshot_id, volume_id=made)
    return clones


def _target(runtime: Runtime, cloud: Cloud, vm: VirtualMachine, suffix: str) -> preflight.Target:
    found = replica.newest(runtime.databases.oma, vm.uuid)
    name = host_name(vm.name, f"-test-{suffix}")
    return preflight.check(runtime, cloud, vm, found, test=True, vm_name=name)
