"""Shares the bandwidth of the fleet fairly among the machines that are copied, on whatever hosts.

There is nobody who shares it out. Each machine's worker looks at what all have (`fleet_grants`), about once a second,
one after the other: whoever has more than its share has its process lowered first and says so afterwards; whoever has
less takes of what is free. So the sum of what they may send is never above the total, whoever dies meanwhile: what a
dead one had counts until its process is gone for sure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from sqlalchemy import Engine, delete
from sqlmodel import Session, col, select

from migratekit_core.common.units import SLOWEST
from migratekit_core.db.engine import db_time, write
from migratekit_core.db.models.fleet import FleetGrant
from migratekit_core.engine.bandwidth import USES_IT, Limits, shares
from migratekit_core.services.waves import rows

LEAST_CHANGE = 0.03
"""A share that differs by less is left: a change costs every engine a moment."""


def prepare(engine: Engine) -> None:
    """Make the row that is locked by whoever looks."""
    write(engine, lambda db: db.merge(FleetGrant(token="")))


def settle(engine: Engine, token: str, total: int, lease: float, holding: int, used: int) -> int:
    """Return how much the machine of a claim may send from now on, in bytes per second; 0: nothing yet.

    `holding` is what its process has been told, and keeps to; `used` what it sends. Where the answer is less than
    `holding`, the process has to be told at once, and the next call says so.
    """

    def change(db: Session) -> int:
        rows.hold(db)
        db.exec(select(FleetGrant).where(FleetGrant.token == "").with_for_update()).first()
        now = db_time(db)
        alive = col(FleetGrant.renewed_at) > now - timedelta(seconds=lease)
        held = {each.token: each for each in db.exec(select(FleetGrant).where(alive)) if each.token}
        mine = held.get(token)
        if mine is None:
            mine = db.merge(FleetGrant(token=token, renewed_at=now))
            held[token] = mine
        mine.granted, mine.used, mine.renewed_at = holding, used, now
        share = fair(total, {each.token: (each.granted, each.used) for each in held.values()})[token]
        if share < holding:
            return share if holding - share > LEAST_CHANGE * holding else holding
        free = total - sum(each.granted for each in held.values())
        more = min(share - holding, max(free, 0))
        if more > LEAST_CHANGE * holding and holding + more >= SLOWEST:
            mine.granted = holding + more
        return mine.granted

    return write(engine, change)


def leave(engine: Engine, token: str) -> None:
    """Give a machine's share back: its process has ended."""
    write(engine, lambda db: db.execute(delete(FleetGrant).where(col(FleetGrant.token) == token)) and None)


def forget(engine: Engine, seconds: float) -> None:
    """Delete what workers that died have left, for so many seconds."""

    def change(db: Session) -> None:
        late = col(FleetGrant.renewed_at) < db_time(db) - timedelta(seconds=seconds)
        db.execute(delete(FleetGrant).where(late, col(FleetGrant.token) != ""))

    write(engine, change)


def fair(total: int, held: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Return the share of each machine, of what it has and uses: together never more than the total."""
    part = total / len(held)
    wants = {
        token: float("inf") if used >= USES_IT * granted or not granted else max(2.0 * used, part / 4, SLOWEST)
        for token, (granted, used) in held.items()
    }
    return {token: share or total for token, share in shares(Limits(total), wants).items()}
