"""How large the databases are, how fast they grow, and how many connections MariaDB takes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from sqlmodel import col, func, select

from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.db.models.volumes import VolumeOperation

DAYS = 7
"""Looked at for the growth: a week has its quiet days in it."""


@dataclass(frozen=True)
class Size:
    """What both databases take, in bytes."""

    total: int
    per_day: float
    """As of the last week: by how many of the jobs are from it."""
    oldest: datetime | None
    """When the oldest operation of the volume daemon ended, in UTC: none of these is kept for its own sake."""
    free: int | None
    """On their disk; None where they are on another host."""

    @property
    def days_left(self) -> float | None:
        """Return after how many days the disk is full at this rate; None where that cannot be told."""
        return self.free / self.per_day if self.free is not None and self.per_day > 0 else None


def measure(databases: Databases, local: bool) -> Size:
    """Return how large the databases are; `local` tells that their server runs on this host."""
    week = utcnow() - timedelta(days=DAYS)
    with session(databases.oma) as db:
        jobs = _jobs(db.connection())
        young = db.exec(select(func.count()).select_from(JoblogJob).where(col(JoblogJob.started_at) >= week)).one()
        first = db.exec(select(func.min(JoblogJob.started_at))).one()
        total = _bytes(db.connection())
        place = _folder(db.connection()) if local else None
    with session(databases.volumes) as db:
        total += _bytes(db.connection())
        oldest = db.exec(select(func.min(VolumeOperation.completed_at))).one()
    # One that is younger than a week has grown in the days that it has been there.
    days = min(max((utcnow() - first).total_seconds() / 86400, 1.0), DAYS) if first else DAYS
    free = None
    if place is not None and place.exists():
        held = os.statvfs(place)
        free = held.f_bavail * held.f_frsize
    return Size(total, total * min(young / max(jobs, 1), 1.0) / days, oldest, free)


def _bytes(connection: Connection) -> int:
    if connection.dialect.name == "sqlite":
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        return int(pages) * int(connection.execute(text("PRAGMA page_size")).scalar_one())
    query = "SELECT SUM(data_length + index_length) FROM information_schema.tables WHERE table_schema = DATABASE()"
    return int(connection.execute(text(query)).scalar_one() or 0)


def _jobs(connection: Connection) -> int:
    """Return how many jobs are recorded; on MariaDB about: to count millions takes a while."""
    query = "SELECT COUNT(*) FROM joblog_jobs"
    if connection.dialect.name != "sqlite":
        query = (
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = :name"
        )
    values = {} if connection.dialect.name == "sqlite" else {"name": "joblog_jobs"}
    return int(connection.execute(text(query), values).scalar_one() or 0)


def _folder(connection: Connection) -> Path | None:
    if connection.dialect.name == "sqlite":
        return Path(connection.engine.url.database or ".").parent
    # A setting of the server's, not a row: it is asked for its file system's room, and never opened.
    return Path(str(connection.execute(text("SELECT @@datadir")).scalar_one()))


@dataclass(frozen=True)
class Connections:
    """How many connections MariaDB takes, and the most that it had since it was started."""

    limit: int
    used: int


def connections(engine: Engine) -> Connections:
    """Return the connections of a MariaDB server."""
    with engine.connect() as connection:
        limit = int(connection.execute(text("SELECT @@max_connections")).scalar_one())
        used = connection.execute(text("SHOW GLOBAL STATUS LIKE 'Max_used_connections'")).one()
    return Connections(limit, int(used[1]))
