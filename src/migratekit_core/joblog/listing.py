"""Which jobs are wanted, and a list of them without the joblog's models: `jobs list` is typed often, and waited for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, MetaData, Row, Select, Table, func, select, text
from sqlalchemy.exc import DBAPIError, NoSuchTableError

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config.folders import sqlite_dir
from migratekit_core.config.schema import Database
from migratekit_core.db.engine import database_error, open_engine
from migratekit_core.db.revisions import heads
from migratekit_core.joblog.process import started, this_process
from migratekit_core.joblog.states import RUNNING

Query = TypeVar("Query", bound=Select[Any])

OWED = (
    "SELECT 1 FROM pending_removals LIMIT 1",
    "SELECT 1 FROM failover_jobs WHERE job_type = 'live' AND status NOT IN ('completed', 'rolled_back') LIMIT 1",
)
"""Whether anything may be left that somebody has to take back (services.failover.owed says what)."""
RUNNING_HERE = "SELECT pid, process_started FROM joblog_jobs WHERE status = :status AND host = :host"


@dataclass(frozen=True)
class Filter:
    """Which jobs; an empty field takes all."""

    owners: Sequence[str] = ()
    kinds: Sequence[str] = ()
    statuses: Sequence[str] = ()
    since: datetime | None = None
    """In UTC: jobs that began then or later, and those that had not ended by then."""
    nested: bool = False
    """Also jobs within others."""
    limit: int | None = 50


def narrowed(query: Query, jobs: Any, wanted: Filter, ask: Callable[[Query], Iterable[Any]]) -> list[Any]:
    """Return the rows of a filter that `ask` finds by a query, the newest first; `jobs` are the table's columns.

    The parent's index is kept out of it (coalesce): neither database expects thousands of rows without a parent.
    Those that began before `since` are asked for by themselves, each kind by its own index: a query with OR would read
    the whole past.
    """
    for column, values in ((jobs.owner, wanted.owners), (jobs.kind, wanted.kinds), (jobs.status, wanted.statuses)):
        if values:
            query = query.where(column.in_(values))
    outer = query if wanted.nested else query.where(func.coalesce(jobs.parent_job_id, "") == "")
    newest = outer.order_by(jobs.started_at.desc()).limit(wanted.limit)
    if wanted.since is None:
        return list(ask(newest))
    found = list(ask(newest.where(jobs.started_at >= wanted.since)))
    if len(found) == wanted.limit:
        return found
    # Few, so all else is left to this loop: another condition, or a limit, would lead by its index through the past.
    rest = [*ask(query.where(jobs.completed_at >= wanted.since)), *ask(query.where(jobs.status == RUNNING))]
    rest = [row for row in rest if row.started_at < wanted.since and (wanted.nested or row.parent_job_id is None)]
    return (found + sorted(rest, key=attrgetter("started_at"), reverse=True))[: wanted.limit]


def listed(engine: Engine, wanted: Filter) -> list[Row[Any]]:
    """Return the rows of joblog_jobs that fit, the newest first, with the columns that the database has.

    Raises what `database_error` returns.
    """
    try:
        with engine.connect() as connection:
            return _listed(connection, wanted)
    except DBAPIError as error:
        raise database_error(error, engine) from error


def _listed(connection: Connection, wanted: Filter) -> list[Row[Any]]:
    jobs = Table("joblog_jobs", MetaData(), autoload_with=connection, resolve_fks=False)
    return narrowed(select(jobs), jobs.c, wanted, connection.execute)


def at_once(database: Database, socket: Path | None, wanted: Filter) -> list[Row[Any]] | None:
    """Return what `listed` does; None where there is something to say or to do first.

    That is: no database or another revision, a job whose process is gone and has to be marked, something that has to be
    taken back, an error. `socket` leads to MariaDB through the tunnel.
    """
    if database.kind == "sqlite" and not (sqlite_dir(database) / "oma.sqlite").exists():
        return None  # Opening would make it.
    engine = open_engine(database, "oma", socket)
    try:
        with engine.connect() as connection:
            revisions = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
            if set(revisions) != heads("oma"):
                return None
            host, _, _ = this_process()
            running = connection.execute(text(RUNNING_HERE), {"status": RUNNING, "host": host})
            if any(started(pid) != began for pid, began in running):
                return None
            if any(connection.exec_driver_sql(query).first() for query in OWED):
                return None
            return _listed(connection, wanted)
    except (DBAPIError, NoSuchTableError, AttributeError, MigrateKitError):
        return None  # AttributeError: a column is not there.
    finally:
        engine.dispose()


def fields(row: Row[Any]) -> dict[str, Any]:
    """Return a row as the job's model writes it in JSON."""
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row._asdict().items()}
