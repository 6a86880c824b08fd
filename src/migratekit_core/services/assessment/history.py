"""How much machines change, by the syncs that were made of them: exact, and nothing is changed to find out.

Each incremental sync has asked QueryChangedDiskAreas what changed since the one before; the answer's size is in
`replication_jobs.total_bytes`. A block that was written twice between two syncs counts once, as it is copied once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from migratekit_core.adapters.vsphere.inventory import VirtualMachine

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from migratekit_core.db.models.oma import ReplicationJob

WINDOW = timedelta(days=30)
"""Syncs before the newest that are looked at: what a machine did a year ago says little."""


def changed_rates(engine: Engine, machines: Sequence[VirtualMachine]) -> Mapping[str, float]:
    """Return bytes changed per second, by managed object id, of machines with at least two syncs one after another.

    `engine` is the OMA database's. A full sync begins a new series: of what came before it nothing is known.
    """
    from sqlmodel import col, select

    from migratekit_core.db.engine import session
    from migratekit_core.db.models.oma import ReplicationJob
    from migratekit_core.services.replication.replica import COMPLETED

    by_uuid = {vm.uuid: vm for vm in machines if vm.uuid}
    jobs: defaultdict[str, list[ReplicationJob]] = defaultdict(list)
    wanted = select(ReplicationJob).where(ReplicationJob.status == COMPLETED).order_by(col(ReplicationJob.started_at))
    with session(engine) as db:
        for job in db.exec(wanted):
            if job.source_vm_id in by_uuid and job.started_at is not None:
                jobs[job.source_vm_id].append(job)
    known = {uuid: rate_of(done) for uuid, done in jobs.items()}
    return {by_uuid[uuid].moref: rate for uuid, rate in known.items() if rate is not None}


def rate_of(done: Sequence[ReplicationJob]) -> float | None:
    """Return bytes changed per second by a machine's completed syncs, the oldest first; None where it takes more."""
    from migratekit_core.services.replication.replica import INCREMENTAL

    changed, seconds = 0, 0.0
    for before, job in pairwise(done):
        newest = done[-1].started_at
        assert before.started_at and job.started_at and newest, "they were started"
        if job.replication_type == INCREMENTAL and newest - before.started_at <= WINDOW:
            changed += job.total_bytes
            seconds += (job.started_at - before.started_at).total_seconds()
    return changed / seconds if seconds > 0 else None
