"""Lists jobs without loading the joblog's models: `jobs list` is typed often, and waited for each time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from migratekit_core.config.schema import Database
from migratekit_core.db.look import Look, NotOrdinaryError, look
from migratekit_core.joblog.process import started, this_process


@dataclass(frozen=True)
class Line:
    """A job, with the columns of joblog_jobs."""

    id: str
    parent_job_id: str | None
    correlation_id: str
    kind: str
    owner: str
    status: str
    host: str
    pid: int
    process_started: str
    error_message: str | None
    started_at: datetime
    completed_at: datetime | None

    def model_dump(self, mode: str = "json") -> dict[str, Any]:
        """Return the job as its model writes it in JSON."""
        return {name: _json(value) for name, value in asdict(self).items()}


def glance(
    database: Database,
    socket: Path | None = None,
    *,
    owners: Sequence[str] = (),
    kinds: Sequence[str] = (),
    statuses: Sequence[str] = (),
    since: datetime | None = None,
    nested: bool = False,
    limit: int | None = 50,
) -> list[Line] | None:
    """Return the jobs that fit, the newest first; None where the ordinary way has to be taken.

    That is: no database or another revision, a job whose process is gone and has to be marked, a driver's error.
    `socket` leads to MariaDB through the tunnel.
    """
    conditions, values = [], list[Any]()
    for column, wanted in (("owner", owners), ("kind", kinds), ("status", statuses)):
        if wanted:
            conditions.append(f"{column} IN ({', '.join('?' * len(wanted))})")
            values += wanted
    if since is not None:
        conditions.append("(started_at >= ? OR completed_at IS NULL OR completed_at >= ?)")
        values += [str(since)] * 2
    if not nested:
        conditions.append("parent_job_id IS NULL")
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    end = " LIMIT ?" if limit is not None else ""
    values += [limit] if limit is not None else []
    columns = ", ".join(field.name for field in fields(Line))
    query = f"SELECT {columns} FROM joblog_jobs{where} ORDER BY started_at DESC{end}"  # noqa: S608
    try:
        with look(database, "oma", socket) as opened:
            if _somebody_is_gone(opened):
                return None
            return [_line(row) for row in opened.rows(query, values)]
    except NotOrdinaryError:
        return None


def _somebody_is_gone(opened: Look) -> bool:
    """Return whether a job of this host runs no more, which has to be written down."""
    host, _, _ = this_process()
    query = "SELECT pid, process_started FROM joblog_jobs WHERE status = 'running' AND host = ?"
    return any(started(pid) != began for pid, began in opened.rows(query, [host]))


def _line(row: tuple[Any, ...]) -> Line:
    *others, began, ended = row
    held = dict(zip((field.name for field in fields(Line)), others, strict=False))
    return Line(**held, started_at=_time(began), completed_at=_time(ended) if ended is not None else None)


def _time(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
