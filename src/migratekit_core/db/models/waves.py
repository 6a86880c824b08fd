"""Tables of waves: the wave, its machines, and every attempt to do something with one of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index, UniqueConstraint
from sqlmodel import Field

from migratekit_core.db.models.base import Key, LongText, OmaTable, Time, utcnow
from migratekit_core.db.models.oma import ID, NAME


class WaveRow(OmaTable, table=True):
    """A wave that was begun, or is to be."""

    __tablename__ = "waves"

    id: str = Field(max_length=ID, primary_key=True)
    name: str = Field(max_length=64, unique=True)
    content: str = Field(sa_type=LongText)
    """The wave file."""
    digest: str = Field(max_length=64)
    status: str = Field(max_length=16, index=True)
    task: str | None = Field(default=None, max_length=16)
    """What its last run does."""
    paused: bool = False
    """No machine is begun; what runs goes on."""
    cancel_asked: bool = False
    asked_by: str | None = Field(default=None, max_length=NAME)
    """Who paused or cancelled it: user and host."""
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    started_at: datetime | None = Field(default=None, sa_type=Time)
    ended_at: datetime | None = Field(default=None, sa_type=Time)


class WaveMachine(OmaTable, table=True):
    """A machine of a wave. While `state` is running, `token` says whose it is."""

    __tablename__ = "wave_vms"
    __table_args__ = (UniqueConstraint("wave_id", "vm_id"), Index("ix_wave_vms_state", "state", "heartbeat_at"))

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    wave_id: str = Field(max_length=ID, foreign_key="waves.id")
    vm_id: str = Field(max_length=NAME, index=True)
    """instanceUuid."""
    vm_name: str = Field(max_length=NAME)
    position: int
    """In the file, from 1."""
    stage: int = 1
    group_name: str = Field(default="", max_length=NAME)
    vcenter: str = Field(default="", max_length=NAME)
    oma: str = Field(default="", max_length=NAME)
    host: str = Field(default="", max_length=NAME)
    """Of ESXi, as planned."""
    state: str = Field(max_length=16)
    came_from: str = Field(max_length=16)
    """The state before; a retry, and a worker's death, put it back there."""
    task: str | None = Field(default=None, max_length=16)
    """What is, or was last, done with it."""
    attempts: int = 0
    worker: str | None = Field(default=None, max_length=NAME)
    token: str | None = Field(default=None, max_length=ID)
    """Of the claim that runs, or ran last; whoever has another one has lost it."""
    heartbeat_at: datetime | None = Field(default=None, sa_type=Time)
    cancel_asked: bool = False
    job_id: str | None = Field(default=None, max_length=ID)
    """Of the joblog, in the database of its OMA."""
    bytes_done: int = Field(default=0, sa_type=BigInteger)
    bytes_total: int = Field(default=0, sa_type=BigInteger)
    rate: int = Field(default=0, sa_type=BigInteger)
    """Bytes per second lately."""
    error_what: str | None = Field(default=None, sa_type=LongText)
    error_why: str | None = Field(default=None, sa_type=LongText)
    error_todo: str | None = Field(default=None, sa_type=LongText)
    error_code: str | None = Field(default=None, max_length=64)
    error_hint: list[Any] | None = Field(default=None, sa_column=Column("error_hint", JSON))
    """error_todo in parts (hints.Hint.fields); NULL where a former version wrote the row."""
    exit_code: int | None = None
    result: dict[str, Any] | None = Field(default=None, sa_column=Column("result", JSON))
    """What the tasks found worth keeping, such as downtime_seconds."""
    started_at: datetime | None = Field(default=None, sa_type=Time)
    ended_at: datetime | None = Field(default=None, sa_type=Time)


class WaveAttempt(OmaTable, table=True):
    """One attempt at one task: written with the claim, and closed with its outcome."""

    __tablename__ = "wave_attempts"

    token: str = Field(max_length=ID, primary_key=True)
    """Of the claim."""
    machine_id: int = Field(sa_type=Key, foreign_key="wave_vms.id", index=True)
    task: str = Field(max_length=16)
    number: int
    worker: str = Field(max_length=NAME)
    outcome: str | None = Field(default=None, max_length=16)
    """done, failed, cancelled, given-back, busy (others had what it needs), lost (its worker died); NULL: it runs."""
    job_id: str | None = Field(default=None, max_length=ID)
    bytes_done: int = Field(default=0, sa_type=BigInteger)
    error_what: str | None = Field(default=None, sa_type=LongText)
    error_why: str | None = Field(default=None, sa_type=LongText)
    error_todo: str | None = Field(default=None, sa_type=LongText)
    error_code: str | None = Field(default=None, max_length=64)
    error_hint: list[Any] | None = Field(default=None, sa_column=Column("error_hint", JSON))
    """error_todo in parts (hints.Hint.fields); NULL where a former version wrote the row."""
    exit_code: int | None = None
    started_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    ended_at: datetime | None = Field(default=None, sa_type=Time)
