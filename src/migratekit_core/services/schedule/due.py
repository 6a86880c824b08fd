"""Which machines are due: by the recovery point objective (RPO) of each, and what the database knows of their replicas.

The age of a replica is that of the data in it: from the begin of the last sync that completed. A machine is due early
enough for its next sync to end before the age gets over the RPO: by how long the last one took, and by how often the
runs come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.config.schema import Schedule
from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationJob, VmDisk
from migratekit_core.services.replication.replica import COMPLETED, INCREMENTAL

DUE, IN_STEP, FAILED_OVER, AMBIGUOUS = "due", "in step", "failed over", "ambiguous"


@dataclass(frozen=True)
class Standing:
    """How a scheduled machine stands; times in seconds."""

    name: str
    """As the schedule names it."""
    rpo: float
    state: str
    last: datetime | None
    """When the last sync that completed began, in UTC."""
    age: float | None
    due_in: float
    """Until it is due; 0 if it is."""

    @property
    def late(self) -> float:
        """Return by how much the replica is older than it may be."""
        return max(self.age - self.rpo, 0.0) if self.age is not None else 0.0


def standings(engine: Engine, schedule: Schedule) -> list[Standing]:
    """Return how every scheduled machine stands, the most urgent first. Raises UsageError where none is scheduled."""
    if not schedule.rpo:
        raise UsageError(
            "no machine is scheduled",
            "the configuration has no [schedule.rpo]",
            "see docs/cron.md for an example",
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": "schedule.rpo"},
        )
    now = utcnow()
    found = write(
        engine, lambda db: [_standing(db, name, rpo, schedule.every, now) for name, rpo in schedule.rpo.items()]
    )
    # One that was never synced has no replica at all; among the others it is the part of the RPO that is used up.
    return sorted(found, key=lambda each: -(each.age / max(each.rpo, 1.0)) if each.age is not None else float("-inf"))


def lead(rpo: float, took: float, every: float) -> float:
    """Return the age from which a replica has to be brought up to date."""
    return max(rpo - took - every, 0.0)


def _standing(db: Session, name: str, rpo: float, every: float, now: datetime) -> Standing:
    mine = (
        (col(ReplicationJob.source_vm_name) == name)
        | (col(ReplicationJob.source_vm_id) == name)
        | (col(ReplicationJob.source_vm_path) == name)
    )
    uuids = set(db.exec(select(ReplicationJob.source_vm_id).where(mine)).all())
    if len(uuids) > 1:
        return Standing(name, rpo, AMBIGUOUS, None, None, 0.0)
    completed = select(ReplicationJob).where(mine, ReplicationJob.status == COMPLETED)
    row = db.exec(completed.order_by(col(ReplicationJob.created_at).desc())).first()
    over = (
        select(FailoverJob.id)
        .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
        .where(col(FailoverJob.vm_id).in_(uuids), FailoverJob.job_type == "live", col(FailoverState.committed))
    )
    if row is None or row.started_at is None:
        return Standing(name, rpo, DUE, None, None, 0.0)
    age = max((now - row.started_at).total_seconds(), 0.0)
    if db.exec(over).first() is not None:
        return Standing(name, rpo, FAILED_OVER, row.started_at, age, 0.0)
    took = 0.0
    if row.replication_type == INCREMENTAL and row.completed_at is not None:
        took = (row.completed_at - row.started_at).total_seconds()
    due_in = 0.0 if _half_written(db, mine, row.id) else max(lead(rpo, took, every) - age, 0.0)
    return Standing(name, rpo, IN_STEP if due_in else DUE, row.started_at, age, due_in)


def _half_written(db: Session, mine: Any, completed: str) -> bool:
    """Return whether a later sync began to write a volume as a whole and did not end: it holds no point in time now."""
    newest = db.exec(select(ReplicationJob.id).where(mine).order_by(col(ReplicationJob.created_at).desc())).first()
    if newest is None or newest == completed:
        return False
    left = select(VmDisk.id).where(VmDisk.job_id == newest, col(VmDisk.disk_change_id).is_(None))
    return db.exec(left).first() is not None
