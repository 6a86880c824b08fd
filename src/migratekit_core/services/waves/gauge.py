"""Numbers of all waves, for a monitor: how many machines are in which state, how fast, and who says nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from migratekit_core.db.engine import session
from migratekit_core.db.models.waves import WaveMachine, WaveRow
from migratekit_core.services.waves import rows
from migratekit_core.services.waves.claims import STALE_SECONDS
from migratekit_core.services.waves.states import RUNNING


@dataclass(frozen=True)
class Numbers:
    """Of all waves together, at one moment."""

    waves: Counter[str]
    """By status."""
    machines: Counter[str]
    """By state."""
    rate: int
    """Bytes per second of all copies."""
    silent: int
    """Machines whose workers have given no sign of life for a while."""


def numbers(engine: Engine) -> Numbers:
    """Return the numbers. Raises what `session` raises."""
    with session(engine) as db:
        waves = Counter(dict(db.exec(select(WaveRow.status, func.count()).group_by(col(WaveRow.status))).all()))
        machines = Counter(
            dict(db.exec(select(WaveMachine.state, func.count()).group_by(col(WaveMachine.state))).all())
        )
        return Numbers(waves, machines, _rate(db), _silent(db))


def _rate(db: Session) -> int:
    return int(db.exec(select(func.sum(WaveMachine.rate)).where(WaveMachine.state == RUNNING)).one() or 0)


def _silent(db: Session) -> int:
    limit = rows.now(db) - timedelta(seconds=STALE_SECONDS)
    query = select(func.count()).where(WaveMachine.state == RUNNING, col(WaveMachine.heartbeat_at) < limit)
    return int(db.exec(query).one())
