"""Tables of the fleet: what runs of waves were asked for, and who may send how much at this moment."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field

from migratekit_core.db.models.base import LongText, OmaTable, Time, utcnow
from migratekit_core.db.models.oma import ID, NAME


class FleetRun(OmaTable, table=True):
    """The last run of a wave that somebody asked for, and how far it is. Whoever drives the fleet goes by it."""

    __tablename__ = "fleet_runs"

    wave_id: str = Field(max_length=ID, primary_key=True, foreign_key="waves.id")
    kind: str = Field(max_length=16)
    """run or cutover."""
    phase: str = Field(max_length=16, index=True)
    """replicate; rehearse, gate, cutover, rollback; done."""
    again: bool = False
    """Also machines that have done it before."""
    rehearse: bool = True
    gate_open: bool = False
    """Whether the cut-over may follow the rehearsals without anybody being asked."""
    abort_below: float = 100.0
    """Per cent of the machines."""
    note: str | None = Field(default=None, sa_type=LongText)
    """Why nothing is begun just now, or how it ended."""
    failed: bool = False
    """Whether it ended without having done what was asked for."""
    asked_by: str = Field(max_length=NAME)
    driver: str | None = Field(default=None, max_length=NAME)
    """Which process drives it, or did last."""
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class FleetGrant(OmaTable, table=True):
    """How much one machine that is being copied may send. The row without a token is there to be locked."""

    __tablename__ = "fleet_grants"

    token: str = Field(max_length=ID, primary_key=True)
    """Of the claim."""
    granted: int = Field(default=0, sa_type=BigInteger)
    """Bytes per second, the most that its process may send at this moment."""
    used: int = Field(default=0, sa_type=BigInteger)
    """Bytes per second lately."""
    renewed_at: datetime = Field(default_factory=utcnow, sa_type=Time)
