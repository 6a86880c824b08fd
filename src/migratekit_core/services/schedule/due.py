"""Which machines are due: by the recovery point objective (RPO) of each, and what the database knows of their replicas.

The age of a replica is that of the data in it: from the begin of the last sync that completed. A machine is due early
enough for its next sync to end before the age gets over the RPO: by how long the last one took, and by how often the
runs come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.vsphere_names import forms, shown, shown_path
from migratekit_core.config.schema import Schedule
from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationJob, VmDisk
from migratekit_core.db.models.sources import SourceVm
from migratekit_core.db.sources import called
from migratekit_core.joblog.search import lots
from migratekit_core.services.replication.replica import INCREMENTAL

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
    found = write(engine, lambda db: _standings(db, schedule, now))
    # One that was never synced has no replica at all; among the others it is the part of the RPO that is used up.
    return sorted(found, key=lambda each: -(each.age / max(each.rpo, 1.0)) if each.age is not None else float("-inf"))


def lead(rpo: float, took: float, every: float) -> float:
    """Return the age from which a replica has to be brought up to date."""
    return max(rpo - took - every, 0.0)


@dataclass(frozen=True)
class _Known:
    """A machine with its syncs; `half` tells that a later one began to write a volume as a whole and did not end: it
    holds no point in time now."""

    vm: SourceVm
    completed: ReplicationJob | None
    half: bool
    over: bool


def _standings(db: Session, schedule: Schedule, now: datetime) -> list[Standing]:
    known: defaultdict[str, list[_Known]] = defaultdict(list)
    for one in _known(db, list(schedule.rpo)):
        for name in {one.vm.vm_id, shown(one.vm.name), shown_path(one.vm.path)}:
            known[name].append(one)

    def meant(name: str) -> list[_Known]:
        found = {one.vm.vm_id: one for form in forms(name) for one in known.get(form, ())}
        return list(found.values())

    return [_standing(name, rpo, schedule.every, now, meant(name)) for name, rpo in schedule.rpo.items()]


def _standing(name: str, rpo: float, every: float, now: datetime, found: list[_Known]) -> Standing:
    if len(found) > 1:
        return Standing(name, rpo, AMBIGUOUS, None, None, 0.0)
    row = found[0].completed if found else None
    if row is None or row.started_at is None:
        return Standing(name, rpo, DUE, None, None, 0.0)
    age = max((now - row.started_at).total_seconds(), 0.0)
    if found[0].over:
        return Standing(name, rpo, FAILED_OVER, row.started_at, age, 0.0)
    took = 0.0
    if row.replication_type == INCREMENTAL and row.completed_at is not None:
        took = (row.completed_at - row.started_at).total_seconds()
    due_in = 0.0 if found[0].half else max(lead(rpo, took, every) - age, 0.0)
    return Standing(name, rpo, IN_STEP if due_in else DUE, row.started_at, age, due_in)


def _known(db: Session, names: list[str]) -> Iterator[_Known]:
    """Yield what is recorded of the machines with these names, by few queries for all of them."""
    for some in lots(names):
        joined = (
            called(some)
            .add_columns(ReplicationJob)
            .join(ReplicationJob, col(SourceVm.completed_job_id) == col(ReplicationJob.id), isouter=True)
        )
        rows = [(vm, job) for vm, job in db.execute(joined)]
        uuids, later = [vm.vm_id for vm, _ in rows], [vm.newest_job_id for vm, job in rows if not _is(vm, job)]
        over = (
            select(FailoverJob.vm_id)
            .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
            .where(col(FailoverJob.vm_id).in_(uuids), FailoverJob.job_type == "live", col(FailoverState.committed))
        )
        unknown = select(VmDisk.job_id).where(col(VmDisk.job_id).in_(later), col(VmDisk.disk_change_id).is_(None))
        gone, half = set(db.exec(over).all()), set(db.exec(unknown).all())
        for vm, job in rows:
            yield _Known(vm, job, vm.newest_job_id in half, vm.vm_id in gone)


def _is(vm: SourceVm, completed: ReplicationJob | None) -> bool:
    return completed is not None and vm.newest_job_id == completed.id
