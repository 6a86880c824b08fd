"""What is recorded of a machine's replica: its newest replication, its disks and volumes, its checkpoints.

Each waits for a database that is away for a moment.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.adapters.vsphere.inventory import Disk, VirtualMachine
from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.installation import ReplicaDisk
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationCheckpoint, ReplicationJob, VmDisk
from migratekit_core.db.models.sources import SourceVm
from migratekit_core.db.sources import called
from migratekit_core.services.replication.matching import matched

FULL, INCREMENTAL = "full", "incremental"
RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"
ROLLING_BACK = "rolling_back"
"""Status of a failover whose volumes are on their way back."""
OVERWRITTEN = "overwritten"
"""sync_status of a disk whose volume came back from a machine that had run on it."""
KEPT, UNKNOWN = "kept", "unknown"
"""What the volumes hold when they come back: what the last sync has left on them, or nobody knows what."""


@dataclass(frozen=True)
class Replica:
    """The newest replication of a machine, and its disks in the order of the source's."""

    job: ReplicationJob
    disks: tuple[VmDisk, ...]


def newest(engine: Engine, vm_uuid: str) -> Replica | None:
    """Return the replica of the machine with this instanceUuid, or None where it was never replicated."""
    return write(engine, lambda db: _newest(db, vm_uuid))


def of_disks(engine: Engine, vm: VirtualMachine, found: Replica | None = None) -> dict[int, VmDisk]:
    """Return what is recorded of each disk of a machine, by its device key; `found`: its newest replica, if it was read
    already. A disk that was never replicated is left out."""
    found = found or newest(engine, vm.uuid)
    if found is None:
        return {}
    volumes = [row.ossea_volume_id for row in found.disks if row.ossea_volume_id is not None]
    query = select(ReplicaDisk).where(col(ReplicaDisk.volume_id).in_(volumes))
    uuids = {row.volume_id: row.disk_uuid for row in write(engine, lambda db: db.exec(query).all())}
    return matched(vm.disks, found.disks, uuids)


def is_replica_of(db: Session, volume_id: str, disk: Disk) -> None:
    """Write down which disk a volume is the replica of, within the caller's transaction."""
    if disk.uuid:
        db.merge(ReplicaDisk(volume_id=volume_id, disk_uuid=disk.uuid))


def last_completed(engine: Engine, vm_uuid: str) -> ReplicationJob | None:
    """Return the newest replication of a machine that was completed."""
    query = select(ReplicationJob).join(SourceVm, col(SourceVm.completed_job_id) == ReplicationJob.id)
    return write(engine, lambda db: db.exec(query.where(SourceVm.vm_id == vm_uuid)).first())


def named(engine: Engine, vm_name: str) -> list[Replica]:
    """Return the replicas of all machines with this name, path or instanceUuid: the source may be gone by now."""

    def look(db: Session) -> list[Replica]:
        return [found for vm in db.exec(called([vm_name])) if (found := _newest(db, vm.vm_id)) is not None]

    return write(engine, look)


def checkpoint(engine: Engine, volume_id: str) -> ReplicationCheckpoint | None:
    """Return how far an interrupted copy into a volume got."""
    return write(engine, lambda db: db.get(ReplicationCheckpoint, volume_id))


def mark_interrupted(engine: Engine, vm_uuid: str) -> int:
    """Mark what a former run of this machine left as running; the caller holds the machine's lock. Return how many."""

    def mark(db: Session) -> int:
        query = select(ReplicationJob).where(ReplicationJob.source_vm_id == vm_uuid, ReplicationJob.status == RUNNING)
        left = db.exec(query).all()
        for job in left:
            job.status, job.completed_at = INTERRUPTED, utcnow()
            job.error_message = "the process ended before the sync did"
            job.current_operation = None
        return len(left)

    return write(engine, mark)


def live_failover(engine: Engine, vm_uuid: str) -> FailoverJob | None:
    """Return the live failover that has taken a machine's volumes; None where the source is still the machine."""
    query = (
        select(FailoverJob)
        .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
        .where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == "live", col(FailoverState.committed))
        .order_by(col(FailoverJob.created_at).desc())
    )
    return write(engine, lambda db: db.exec(query).first())


def interrupted_failover(engine: Engine, vm_uuid: str) -> FailoverJob | None:
    """Return the live failover that has shut a machine down, or was about to, and did not get as far as its volumes."""
    query = (
        select(FailoverJob, FailoverState)
        .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
        .where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == "live", col(FailoverState.committed).is_(False))
        .where(col(FailoverJob.status).in_((RUNNING, FAILED, ROLLING_BACK)))
        .order_by(col(FailoverJob.created_at).desc())
    )
    found = write(engine, lambda db: db.exec(query).first())
    return found[0] if found is not None and found[1].state.get("shutdown_intent") else None


def forget_content(db: Session, vm_uuid: str) -> None:
    """Forget what a machine's volumes are known to hold, within the caller's transaction: somebody else wrote to them,
    so the next sync copies or compares everything."""
    found = _newest(db, vm_uuid)
    for disk in found.disks if found is not None else ():
        disk.disk_change_id, disk.sync_status = None, OVERWRITTEN
        db.add(disk)
        left = db.get(ReplicationCheckpoint, disk.ossea_volume_id) if disk.ossea_volume_id is not None else None
        if left is not None:
            db.delete(left)


def forget_volume(engine: Engine, vm_uuid: str, volume_id: str) -> None:
    """Forget a volume that was deleted: the machine's next sync makes another one and copies everything. What former
    syncs had is left as it is."""

    def change(db: Session) -> None:
        found = _newest(db, vm_uuid)
        for disk in found.disks if found is not None else ():
            if disk.ossea_volume_id == volume_id:
                disk.ossea_volume_id = disk.disk_change_id = None
                db.add(disk)
        for table in (ReplicationCheckpoint, ReplicaDisk):
            left = db.get(table, volume_id)
            if left is not None:
                db.delete(left)

    write(engine, change)


def _newest(db: Session, vm_uuid: str) -> Replica | None:
    query = select(ReplicationJob).join(SourceVm, col(SourceVm.newest_job_id) == ReplicationJob.id)
    job = db.exec(query.where(SourceVm.vm_id == vm_uuid)).first()
    if job is None:
        return None
    disks = db.exec(select(VmDisk).where(VmDisk.job_id == job.id).order_by(col(VmDisk.id))).all()
    return Replica(job, tuple(disks))
