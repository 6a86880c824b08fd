"""Tables of the joblog: jobs, their steps, and what was recorded on the way."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column, Index
from sqlmodel import Field

from migratekit_core.db.models.base import Key, LongText, OmaTable, Time, utcnow
from migratekit_core.db.models.oma import ID, NAME


class JoblogJob(OmaTable, table=True):
    """A piece of work with a beginning and an end; jobs nest."""

    __tablename__ = "joblog_jobs"

    id: str = Field(max_length=ID, primary_key=True)
    parent_job_id: str | None = Field(default=None, max_length=ID, index=True)
    correlation_id: str = Field(max_length=ID, index=True)
    kind: str = Field(max_length=64)
    owner: str = Field(max_length=NAME)
    """The machine or thing that the job is about."""
    status: str = Field(max_length=16)
    host: str = Field(max_length=NAME)
    pid: int
    process_started: str = Field(max_length=64)
    """Start time of the process as the kernel counts it: a pid alone can be somebody else's by now."""
    error_message: str | None = Field(default=None, sa_type=LongText)
    started_at: datetime = Field(default_factory=utcnow, sa_type=Time, index=True)
    completed_at: datetime | None = Field(default=None, sa_type=Time, index=True)

    __table_args__ = (
        Index("ix_joblog_jobs_owner_started_at", "owner", "started_at"),
        Index("ix_joblog_jobs_kind_started_at", "kind", "started_at"),
        Index("ix_joblog_jobs_status_started_at", "status", "started_at"),
    )


class JoblogStep(OmaTable, table=True):
    """One step of a job, written before it starts and after it ends."""

    __tablename__ = "joblog_steps"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    job_id: str = Field(max_length=ID, foreign_key="joblog_jobs.id", index=True)
    correlation_id: str = Field(max_length=ID)
    sequence: int
    name: str = Field(max_length=NAME)
    status: str = Field(max_length=16)
    error_message: str | None = Field(default=None, sa_type=LongText)
    started_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    completed_at: datetime | None = Field(default=None, sa_type=Time)

    __table_args__ = (Index("ix_joblog_steps_name_id", "name", "id"),)


class JoblogEvent(OmaTable, table=True):
    """Something worth knowing that happened in a step, with its figures."""

    __tablename__ = "joblog_events"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    uid: str | None = Field(default=None, max_length=ID, index=True, unique=True)
    """Made by the writer: where the answer to a commit was lost, it tells whether the commit was, too."""
    job_id: str = Field(max_length=ID, foreign_key="joblog_jobs.id", index=True)
    step_id: int | None = Field(default=None, sa_type=Key, foreign_key="joblog_steps.id")
    correlation_id: str = Field(max_length=ID)
    level: str = Field(max_length=16)
    kind: str | None = Field(default=None, max_length=64)
    """A joblog.events.EventKind; None for an event of before there were any that nobody knows by its text."""
    message: str = Field(sa_type=LongText)
    fields: dict[str, Any] | None = Field(default=None, sa_column=Column("fields", JSON))
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)


class JoblogProgress(OmaTable, table=True):
    """How far a running job is with one thing, a disk mostly; written over while it goes on, about once a second."""

    __tablename__ = "joblog_progress"

    job_id: str = Field(max_length=ID, primary_key=True, foreign_key="joblog_jobs.id")
    item: str = Field(max_length=NAME, primary_key=True)
    done: int = Field(default=0, sa_type=BigInteger)
    """Bytes."""
    total: int = Field(default=0, sa_type=BigInteger)
    rate: int = Field(default=0, sa_type=BigInteger)
    """Bytes per second lately."""
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time)
