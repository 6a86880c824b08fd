"""Multiplies the rows that one real sync wrote, on MariaDB and SQLite, so that the database looks a year older.

Copy number i belongs to machine i % MACHINES (the sample's own is number 0) and began HOURLY seconds before that
machine's next one. Ids are digests of the old ones and the number: scattered as real ones are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Table, event, select, text

from migratekit_core.db import sources
from migratekit_core.db.engine import Databases

MACHINES = 20
HOURLY = 3600
"""Seconds between two syncs of a machine."""
LOT = 2000
"""Copies of one transaction."""
OMA = ("joblog_jobs", "joblog_steps", "joblog_events", "joblog_progress", "replication_jobs", "vm_disks")
TRACKING = ("cloudstack_job_tracking",)
VOLUMES = ("volume_operations", "idempotency_keys")
OPAQUE = frozenset(
    {"id", "uid", "job_id", "parent_job_id", "correlation_id", "operation_id", "key", "cloudstack_job_id", "step_id"}
)
"""Columns of ids that each copy has of its own."""
PER_MACHINE = frozenset({"source_vm_id", "ossea_volume_id", "volume_id"})
"""Columns of ids that each machine has of its own."""


@dataclass(frozen=True)
class Sample:
    """The rows of one sync, by table, and whose it was."""

    machine: str
    began: datetime
    oma: dict[str, list[dict[str, Any]]]
    volumes: dict[str, list[dict[str, Any]]]

    @property
    def rows(self) -> int:
        """Return how many rows one sync writes."""
        return sum(len(rows) for tables in (self.oma, self.volumes) for rows in tables.values())


def sample(databases: Databases, machine: str) -> Sample:
    """Return the rows of the newest completed sync of a machine; nothing else may have worked meanwhile."""
    with databases.oma.connect() as db:
        jobs = _table(db, "replication_jobs")
        mine = select(jobs).where(jobs.c.source_vm_name == machine, jobs.c.status == "completed")
        job = db.execute(mine.order_by(jobs.c.created_at.desc()).limit(1)).mappings().one()
        log = _table(db, "joblog_jobs")
        root = db.execute(select(log).where(log.c.id == job["id"])).mappings().one()
        oma = {}
        for name in OMA:
            table = _table(db, name)
            if name == "replication_jobs":
                wanted = table.c.id == job["id"]
            elif name in ("vm_disks", "joblog_progress"):
                wanted = table.c.job_id == job["id"]
            else:
                wanted = table.c.correlation_id == root["correlation_id"]
            order = {"joblog_jobs": table.c.get("started_at")}.get(name, next(iter(table.primary_key)))
            oma[name] = [dict(row) for row in db.execute(select(table).where(wanted).order_by(order)).mappings()]
        tracked = _table(db, TRACKING[0])
        wanted = tracked.c.correlation_id == root["correlation_id"]
        oma[TRACKING[0]] = [dict(row) for row in db.execute(select(tracked).where(wanted)).mappings()]
    with databases.volumes.connect() as db:
        table = _table(db, "volume_operations")
        during = table.c.created_at.between(root["started_at"], root["completed_at"])
        operations = [dict(row) for row in db.execute(select(table).where(during)).mappings()]
        keys = _table(db, "idempotency_keys")
        theirs = keys.c.operation_id.in_([row["id"] for row in operations])
        found = {"volume_operations": operations}
        found["idempotency_keys"] = [dict(row) for row in db.execute(select(keys).where(theirs)).mappings()]
    return Sample(machine, root["started_at"], oma, found)


def multiply(databases: Databases, one: Sample, numbers: range, total: int) -> None:
    """Write copies `numbers` of `total`: number 0 is the oldest, and the newest began an hour before the sample."""
    for engine, tables in ((databases.oma, one.oma), (databases.volumes, one.volumes)):
        _functions(engine)
        for first in range(numbers.start, numbers.stop, LOT):
            lot = range(first, min(first + LOT, numbers.stop))
            with engine.begin() as db:
                _prepare(db)
                for name, rows in tables.items():
                    for statement, values in _inserts(db, _table(db, name), rows, one, total):
                        db.execute(text(statement), {**values, "first": lot.start, "last": lot.stop - 1})
        with engine.begin() as db:
            if engine is databases.oma:
                # Those of the other machines: their newest sync may be another one now.
                db.execute(text("DELETE FROM source_vms WHERE name <> :name"), {"name": one.machine})
                sources.fill(db)
        with engine.begin() as db:
            for name in tables:
                db.exec_driver_sql(f"ANALYZE TABLE {name}" if _mariadb(db) else "ANALYZE")


def _inserts(
    db: Connection, table: Table, rows: Sequence[dict[str, Any]], one: Sample, total: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield an INSERT … SELECT for each row of the sample, with its values."""
    numbered = [column for column in table.c if column.primary_key and column.type.python_type is int]
    least = {name: min(row["id"] for row in one.oma[name]) for name in ("joblog_steps",)}
    count, machine = len(one.oma["joblog_steps"]), f"n.i % {MACHINES}"
    for row in rows:
        columns, expressions, values = [], [], {}
        for column in table.c:
            name, value = column.name, row[column.name]
            if column in numbered and table.name != "joblog_steps":
                continue
            columns.append(f"{'`' if _mariadb(db) else chr(34)}{name}{'`' if _mariadb(db) else chr(34)}")
            mark = f"v{len(values)}"
            stored = column.type.dialect_impl(db.dialect).bind_processor(db.dialect)
            values[mark] = stored(value) if stored is not None and value is not None else value
            bound = f":{mark}"
            if value is None:
                expressions.append(bound)
            elif isinstance(value, datetime):
                # Copies of a machine, oldest first: the newest is an hour before the sample.
                back = f"(({total} - 1 - n.i) DIV {MACHINES} + 1) * {HOURLY}"
                expressions.append(_earlier(db, bound, back))
            elif name == "step_id" or (table.name == "joblog_steps" and name == "id"):
                values[mark] = value - least["joblog_steps"] + 1_000_000
                expressions.append(f"n.i * {count} + {bound}")
            elif name in OPAQUE:
                expressions.append(f"md5({_joined(db, bound, 'n.i')})")
            elif name in PER_MACHINE:
                # The sample's own machine keeps its ids: its replica goes on.
                theirs = f"md5({_joined(db, bound, machine)})"
                expressions.append(f"CASE WHEN {machine} = 0 THEN {bound} ELSE {theirs} END")
            elif (
                isinstance(value, str)
                and one.machine in value
                and name in ("owner", "source_vm_name", "source_vm_path")
            ):
                other = _joined(db, f"'{one.machine}-'", f"n.i % {MACHINES}")
                expressions.append(
                    f"CASE WHEN n.i % {MACHINES} = 0 THEN {bound} ELSE REPLACE({bound}, '{one.machine}', {other}) END"
                )
            else:
                expressions.append(bound)
        yield (
            f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT {', '.join(expressions)} FROM {_numbers(db)}",
            values,
        )


def _numbers(db: Connection) -> str:
    first = "CAST(:first AS INT)" if _mariadb(db) else ":first"
    return f"(WITH RECURSIVE c(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM c WHERE i < :last) SELECT i FROM c) n"


def _joined(db: Connection, *parts: str) -> str:
    return f"CONCAT({', '.join(parts)})" if _mariadb(db) else f"({' || '.join(parts)})"


def _earlier(db: Connection, value: str, seconds: str) -> str:
    if _mariadb(db):
        return f"CAST({value} AS DATETIME(6)) - INTERVAL {seconds} SECOND"
    return f"earlier({value}, {seconds.replace(' DIV ', ' / ')})"


def _functions(engine: Engine) -> None:
    """Give SQLite what MariaDB has."""
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.create_function("md5", 1, lambda value: hashlib.md5(str(value).encode()).hexdigest())
        connection.create_function("earlier", 2, _earlier_text)

    engine.dispose()


def _earlier_text(value: str, seconds: int) -> str:
    return str(datetime.fromisoformat(value) - timedelta(seconds=seconds)).ljust(20, ".").ljust(26, "0")


def _prepare(db: Connection) -> None:
    if _mariadb(db):
        db.exec_driver_sql("SET SESSION max_recursive_iterations = 1000000, foreign_key_checks = 0, unique_checks = 0")


def _mariadb(db: Connection) -> bool:
    return db.dialect.name != "sqlite"


def _table(db: Connection, name: str) -> Table:
    return Table(name, MetaData(), autoload_with=db, resolve_fks=False)
