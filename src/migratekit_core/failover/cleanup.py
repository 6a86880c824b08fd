"""Takes a rehearsal away: its machine, its volumes, its snapshots. Exactly what it made, in whatever state it died."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.config.load import require
from migratekit_core.db.locks import vm_lock
from migratekit_core.db.schema import require_schema
from migratekit_core.errors import PreconditionError
from migratekit_core.failover.record import CLEANED, TEST, Record, unfinished
from migratekit_core.failover.rehearsal import snapshot_name
from migratekit_core.joblog import Job
from migratekit_core.ossea import compute
from migratekit_core.ossea.client import Cloud
from migratekit_core.ossea.tracking import TrackedJobs
from migratekit_core.replication import replica
from migratekit_core.replication.replica import Replica
from migratekit_core.runtime import Runtime
from migratekit_core.volumes.client import VolumeClient
from migratekit_core.volumes.names import TAG


@dataclass(frozen=True)
class Cleaned:
    """What was taken away."""

    job_id: str
    vm_name: str
    failovers: tuple[str, ...]
    machines: tuple[str, ...]
    volumes: tuple[str, ...]
    snapshots: tuple[str, ...]


def find(runtime: Runtime, name: str) -> Replica:
    """Return the replica that `name` means; vCenter is not asked, for the source may be gone."""
    found = replica.named(runtime.databases.oma, name)
    if len(found) != 1:
        paths = ", ".join(f"{item.job.source_vm_path} ({item.job.source_vm_id})" for item in found)
        raise PreconditionError(
            f"no replica {name!r}" if not found else f"the name {name!r} is ambiguous",
            f"replicas with that name: {paths or 'none'}",
            "name one by its path or instanceUuid",
        )
    return found[0]


def plan(runtime: Runtime, name: str) -> list[str]:
    """Return the ids of the rehearsals that a cleanup would take away."""
    require(runtime.config, "ossea")
    require_schema(runtime.databases)
    return [record.id for record in unfinished(runtime.databases.oma, find(runtime, name).job.source_vm_id, TEST)]


def clean(runtime: Runtime, name: str) -> Cleaned:
    """Take every rehearsal of a machine away; doing it again finds nothing and is no error.

    It takes no lock of the machine: a rehearsal shares nothing with a sync that runs meanwhile.
    """
    require(runtime.config, "ossea")
    require_schema(runtime.databases)
    runtime.tracker.mark_interrupted()
    found = find(runtime, name)
    uuid = found.job.source_vm_id
    cloud = Cloud(runtime.ossea)
    machines: list[str] = []
    gone: list[str] = []
    snapshots: list[str] = []
    with (
        vm_lock(runtime.databases.oma, f"cleanup-{uuid}", f"cleanup {found.job.source_vm_name}"),
        runtime.tracker.job("cleanup", owner=found.job.source_vm_name) as job,
    ):
        records = unfinished(runtime.databases.oma, uuid, TEST)
        volumes = runtime.volumes(job)
        try:
            for record in records:
                machines += _destroy_machine(runtime, cloud, job, record)
                gone += _delete_volumes(volumes, job, record)
                snapshots += _delete_snapshots(volumes, job, record)
                record.end(CLEANED)
        finally:
            volumes.close()
    ids = tuple(record.id for record in records)
    return Cleaned(job.id, found.job.source_vm_name, ids, tuple(machines), tuple(gone), tuple(snapshots))


def _destroy_machine(runtime: Runtime, cloud: Cloud, job: Job, record: Record) -> list[str]:
    jobs = TrackedJobs(runtime.databases.oma, "cleanup", job.correlation_id, record.id)
    with job.step("destroy-machine") as step:
        vm_id = record.row().destination_vm_id
        if vm_id is None and (name := record.state().get("deploy_intent")):
            existing = compute.find(cloud, name=name)
            vm_id = existing["id"] if existing is not None else None
        if vm_id is None or not compute.destroy(cloud, vm_id, jobs):
            return []
        step.log("machine destroyed", vm_id=vm_id)
        return [vm_id]


def _delete_volumes(volumes: VolumeClient, job: Job, record: Record) -> list[str]:
    """Delete the rehearsal's volumes: the recorded ones, and what carries its tag without being recorded."""
    tagged = [volume["id"] for volume in volumes.volumes() if volume["tags"].get(f"{TAG}-failover") == record.id]
    gone = []
    with job.step("delete-volumes") as step:
        root = record.state().get("template_root")
        for volume_id in dict.fromkeys([*record.state().get("clones", []), *tagged, *([root] if root else [])]):
            volume = volumes.get(volume_id)
            if volume is not None and volume["vm_id"] is not None:
                volumes.detach(volume_id)
            # The root disk went with its machine; the daemon is told all the same, so that it forgets where it was.
            volumes.delete(volume_id)
            gone.append(volume_id)
            step.log("volume deleted", volume_id=volume_id)
    return gone


def _delete_snapshots(volumes: VolumeClient, job: Job, record: Record) -> list[str]:
    """Delete the rehearsal's snapshots: they are found by their name, also those that a killed run did not record."""
    gone = []
    with job.step("delete-snapshots") as step:
        for volume_id in record.state().get("snapshot_intents", []):
            volume = volumes.get(volume_id)
            for snapshot in volume["snapshots"] if volume is not None else []:
                if snapshot["name"].startswith(f"mk-{snapshot_name(record)}-"):
                    volumes.delete_snapshot(snapshot["id"])
                    gone.append(snapshot["id"])
                    step.log("snapshot deleted", snapshot_id=snapshot["id"])
    return gone
