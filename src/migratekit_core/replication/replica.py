"""What is recorded of a machine's replica: its newest replication, its disks and volumes, its checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import session
from migratekit_core.models.base import utcnow
from migratekit_core.models.oma import FailoverJob, FailoverState, ReplicationCheckpoint, ReplicationJob, VmDisk

FULL, INCREMENTAL = "full", "incremental"
RUNNING, COMPLETED, FAILED, INTERRUPTED = "running", "completed", "failed", "interrupted"


@dataclass(frozen=True)
class Replica:
    """The newest replication of a machine, and its disks in the order of the source's."""

    job: ReplicationJob
    disks: tuple[VmDisk, ...]


def newest(engine: Engine, vm_uuid: str) -> Replica | None:
    """Return the replica of the machine with this instanceUuid, or None where it was never replicated."""
    with session(engine) as db:
        return _newest(db, vm_uuid)


def named(engine: Engine, vm_name: str) -> list[Replica]:
    """Return the replicas of all machines with this name, path or instanceUuid: the source may be gone by now."""
    with session(engine) as db:
        query = select(ReplicationJob.source_vm_id).where(
            (col(ReplicationJob.source_vm_name) == vm_name)
            | (col(ReplicationJob.source_vm_id) == vm_name)
            | (col(ReplicationJob.source_vm_path) == vm_name)
        )
        uuids = sorted(set(db.exec(query).all()))
        return [found for found in (_newest(db, uuid) for uuid in uuids) if found is not None]


def checkpoint(engine: Engine, volume_id: str) -> ReplicationCheckpoint | None:
    """Return how far an interrupted copy into a volume got."""
    with session(engine) as db:
        return db.get(ReplicationCheckpoint, volume_id)


def mark_interrupted(engine: Engine, vm_uuid: str) -> int:
    """Mark what a former run of this machine left as running; the caller holds the machine's lock. Return how many."""
    with session(engine) as db:
        query = select(ReplicationJob).where(ReplicationJob.source_vm_id == vm_uuid, ReplicationJob.status == RUNNING)
        left = db.exec(query).all()
        for job in left:
            job.status, job.completed_at = INTERRUPTED, utcnow()
            job.error_message = "the process ended before the sync did"
            job.current_operation = None
        return len(left)


def live_failover(engine: Engine, vm_uuid: str) -> FailoverJob | None:
    """Return the live failover that has taken a machine's volumes; None where the source is still the machine."""
    with session(engine) as db:
        query = (
            select(FailoverJob)
            .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
            .where(FailoverJob.vm_id == vm_uuid, FailoverJob.job_type == "live", col(FailoverState.committed))
            .order_by(col(FailoverJob.created_at).desc())
        )
        return db.exec(query).first()


def _newest(db: Session, vm_uuid: str) -> Replica | None:
    query = select(ReplicationJob).where(ReplicationJob.source_vm_id == vm_uuid)
    job = db.exec(query.order_by(col(ReplicationJob.created_at).desc())).first()
    if job is None:
        return None
    disks = db.exec(select(VmDisk).where(VmDisk.job_id == job.id).order_by(col(VmDisk.id))).all()
    return Replica(job, tuple(disks))
