"""What the database knows that a plan needs: how fast first syncs were, and which machines are taken already."""

from __future__ import annotations

import statistics
from datetime import timedelta
from typing import TYPE_CHECKING

from migratekit_core.common.units import MIB
from migratekit_core.services.waves.planning.estimate import Measured

if TYPE_CHECKING:
    from sqlalchemy import Engine

WINDOW = timedelta(days=90)
"""Syncs that are looked at: a link of a year ago may have been another one."""
ENOUGH = 256 * MIB
"""Bytes that a sync must have moved to tell how fast it is: what it takes besides its copy is the same for all."""


def measured(engine: Engine) -> Measured | None:
    """Return how fast first syncs of one machine were, or None where there was none."""
    from sqlmodel import col, select

    from migratekit_core.db.engine import write
    from migratekit_core.db.models.base import utcnow
    from migratekit_core.db.models.oma import ReplicationJob
    from migratekit_core.services.replication.replica import COMPLETED, INCREMENTAL

    query = select(ReplicationJob).where(
        ReplicationJob.status == COMPLETED,
        ReplicationJob.replication_type != INCREMENTAL,
        ReplicationJob.bytes_transferred >= ENOUGH,
        col(ReplicationJob.started_at) > utcnow() - WINDOW,
    )
    rates = []
    first = None
    for job in write(engine, lambda db: list(db.exec(query))):
        if job.started_at is None or job.completed_at is None or job.completed_at <= job.started_at:
            continue
        rates.append(job.bytes_transferred / (job.completed_at - job.started_at).total_seconds())
        first = min(first or job.started_at, job.started_at)
    if not rates or first is None:
        return None
    syncs = "1 first sync" if len(rates) == 1 else f"median of {len(rates)} first syncs"
    return Measured(statistics.median(rates), f"{syncs} since {first:%Y-%m-%d}")


def taken(engine: Engine) -> dict[str, str]:
    """Return the machines, by instanceUuid, that are in an open wave or failed over, each with the reason."""
    from sqlmodel import col, select

    from migratekit_core.db.engine import write
    from migratekit_core.db.models.oma import FailoverJob, FailoverState
    from migratekit_core.db.models.waves import WaveMachine, WaveRow
    from migratekit_core.db.wavestates import CANCELLED, CUT_OVER, ROLLED_BACK

    in_waves = (
        select(WaveMachine.vm_id, WaveRow.name, WaveMachine.state)
        .join(WaveRow, col(WaveRow.id) == col(WaveMachine.wave_id))
        .where(col(WaveMachine.state).not_in((CANCELLED, ROLLED_BACK)))
        .where(col(WaveRow.cancel_asked).is_(False) | (col(WaveMachine.state) == CUT_OVER))
    )
    over = (
        select(FailoverJob.vm_id)
        .join(FailoverState, col(FailoverState.failover_job_id) == FailoverJob.id)
        .where(FailoverJob.job_type == "live", col(FailoverState.committed))
    )
    found = dict.fromkeys(write(engine, lambda db: list(db.exec(over))), "it was failed over")
    for vm, name, state in write(engine, lambda db: list(db.exec(in_waves))):
        found.setdefault(vm, f"it is in wave {name} ({state})")
    return found
