"""How much machines change, by the syncs that were made of them: exact, and nothing is changed to find out.

Each incremental sync has asked QueryChangedDiskAreas what changed since the one before; the answer's size is in
`replication_jobs.total_bytes`. A block that was written twice between two syncs counts once, as it is copied once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from migratekit_core.adapters.vsphere.inventory import VirtualMachine

if TYPE_CHECKING:
    from sqlalchemy import Engine

WINDOW = timedelta(days=30)
"""Syncs before the newest that are looked at: what a machine did a year ago says little."""


class Sync(NamedTuple):
    """What a completed sync tells of its machine."""

    started_at: datetime
    replication_type: str
    total_bytes: int
    """Changed since the sync before."""


def changed_rates(engine: Engine, machines: Sequence[VirtualMachine]) -> Mapping[str, float]:
    """Return bytes changed per second, by managed object id, of machines with at least two syncs one after another.

    `engine` is the OMA database's. A full sync begins a new series: of what came before it nothing is known.
    """
    from sqlmodel import col, select

    from migratekit_core.db.engine import session
    from migratekit_core.db.models.oma import ReplicationJob
    from migratekit_core.db.models.sources import SourceVm
    from migratekit_core.joblog.search import lots
    from migratekit_core.services.replication.replica import COMPLETED

    by_uuid = {vm.uuid: vm for vm in machines if vm.uuid}
    found: dict[str, float] = {}
    with session(engine) as db:
        last = select(SourceVm.vm_id, ReplicationJob.created_at).join(
            ReplicationJob, col(SourceVm.completed_job_id) == ReplicationJob.id
        )
        for uuids in lots(list(by_uuid)):
            for uuid, newest in db.exec(last.where(col(SourceVm.vm_id).in_(uuids))).all():
                # Columns, not rows: there may be thousands, and a row tells much else.
                query = select(
                    col(ReplicationJob.started_at),
                    col(ReplicationJob.replication_type),
                    col(ReplicationJob.total_bytes),
                ).where(
                    ReplicationJob.source_vm_id == uuid,
                    ReplicationJob.created_at >= newest - WINDOW,
                    ReplicationJob.status == COMPLETED,
                )
                rows = db.exec(query.order_by(col(ReplicationJob.created_at))).all()
                rate = rate_of([Sync(began, kind, size) for began, kind, size in rows if began is not None])
                if rate is not None:
                    found[by_uuid[uuid].moref] = rate
    return found


def rate_of(done: Sequence[Sync]) -> float | None:
    """Return bytes changed per second by a machine's completed syncs, the oldest first; None where it takes more."""
    from migratekit_core.services.replication.replica import INCREMENTAL

    changed, seconds = 0, 0.0
    for before, job in pairwise(done):
        newest = done[-1].started_at
        if job.replication_type == INCREMENTAL and newest - before.started_at <= WINDOW:
            changed += job.total_bytes
            seconds += (job.started_at - before.started_at).total_seconds()
    return changed / seconds if seconds > 0 else None
