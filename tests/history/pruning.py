"""How fast a long past is deleted, and what it is to others meanwhile: syncs, and a writer who wants one row."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pymysql

from tests.history import measure
from tests.integration.support import report, setting, sql
from tests.lab.lab import COMMAND, Lab
from tests.lab.parts import mariadb

KEEP_MINUTES = 30
"""All copies are older than this, and the sample's own syncs are not."""
KILLED_AFTER = float(os.environ.get("KILLED_AFTER", "30"))
"""Seconds."""
EVERY = 0.1
"""Seconds between two rows of the writer, and between two looks at prune's transactions."""


@dataclass
class Seen:
    """What was seen while rows were deleted."""

    writes: list[float] = field(default_factory=list)
    """Seconds that each row of the writer took."""
    longest_lot: float = 0.0
    """Seconds of the longest transaction of prune, to EVERY."""
    syncs: list[float] = field(default_factory=list)
    """Seconds of each sync."""


def measured(lab: Lab, syncs: int) -> dict[str, Any]:
    """Delete everything older than the sample, while it goes on being synced; kill the command once."""
    before, rows, seen, stop = sizes(lab), _rows(lab), Seen(), threading.Event()
    command = [str(COMMAND), "--config", str(lab.config), "jobs", "prune", "--older-than", f"{KEEP_MINUTES}m", "--yes"]
    command += ["--output", "json"]
    threads = [threading.Thread(target=each, args=(lab, seen, stop)) for each in (_write, _look)]
    for thread in threads:
        thread.start()
    try:
        began = time.monotonic()
        killed = subprocess.Popen(
            command, env=setting(lab), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )
        until = began + KILLED_AFTER
        while time.monotonic() < until:
            _sync(lab, seen)
        assert killed.poll() is None, "it was done before it could be killed"
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        after_kill = _rows(lab)
        print(f"killed after {time.monotonic() - began:.0f} s: {rows} rows, then {after_kill}", flush=True)
        _whole(lab)
        left = subprocess.Popen(command, env=setting(lab), stdout=subprocess.PIPE, text=True)
        while left.poll() is None:
            _sync(lab, seen)
        seconds = time.monotonic() - began
        out = left.communicate()[0]
        assert left.returncode == 0, out
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    _whole(lab)
    after, told = sizes(lab), json.loads(out)
    print(f"pruned {syncs} syncs in {seconds:.0f} s, {syncs / seconds:.0f} syncs/s")
    print(f"  longest transaction {seen.longest_lot:.1f} s; a row written meanwhile: {_spread(seen.writes)}")
    print(f"  {len(seen.syncs)} syncs were made meanwhile: {_spread(seen.syncs)}")
    for table, size in before.items():
        print(f"  {table:32} {size >> 20:>7} MiB, then {after.get(table, 0) >> 20:>7} MiB")
    return {
        "told": told,
        "seconds": seconds,
        "syncs": syncs,
        "longest_lot": seen.longest_lot,
        "longest_write": max(seen.writes),
        "syncs_meanwhile": len(seen.syncs),
        "longest_sync": max(seen.syncs),
        "rows": {"before": rows, "after_kill": after_kill, "after": _rows(lab)},
        "bytes": {"before": before, "after": after},
    }


def _sync(lab: Lab, seen: Seen) -> None:
    began = time.monotonic()
    report(lab, "replicate", measure.MACHINE)
    seen.syncs.append(time.monotonic() - began)


def _whole(lab: Lab) -> None:
    """Check that nothing is there half: no step, event or progress without its job, no disk without its sync."""
    for table, column, parent in (
        ("joblog_steps", "job_id", "joblog_jobs"),
        ("joblog_progress", "job_id", "joblog_jobs"),
        ("vm_disks", "job_id", "replication_jobs"),
    ):
        query = f"SELECT t.{column} FROM {table} t LEFT JOIN {parent} p ON p.id = t.{column} WHERE p.id IS NULL LIMIT 1"
        assert _all(lab, query) == [], table


def _write(lab: Lab, seen: Seen, stop: threading.Event) -> None:
    """Write a row where prune deletes, again and again."""
    with _connected(lab) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, correlation_id FROM joblog_jobs ORDER BY started_at DESC LIMIT 1")
        job, correlation = cursor.fetchone()
        while not stop.wait(EVERY):
            began = time.monotonic()
            cursor.execute(
                "INSERT INTO joblog_events (uid, job_id, correlation_id, level, message, fields, created_at)"
                " VALUES (MD5(RAND()), %s, %s, 'info', 'a row of the writer', '{}', UTC_TIMESTAMP(6))",
                (job, correlation),
            )
            seen.writes.append(time.monotonic() - began)


def _look(lab: Lab, seen: Seen, stop: threading.Event) -> None:
    """Note how long the longest transaction is that has changed more rows than a sync does."""
    since: dict[int, float] = {}
    with pymysql.connect(unix_socket=str(lab.sockets / "mariadb.sock"), user="root", autocommit=True) as connection:
        while not stop.wait(EVERY):
            with suppress(pymysql.Error), connection.cursor() as cursor:
                cursor.execute("SELECT trx_id FROM information_schema.innodb_trx WHERE trx_rows_modified > 50")
                now, running = time.monotonic(), [row[0] for row in cursor.fetchall()]
                since = {each: since.get(each, now - EVERY) for each in running}
                seen.longest_lot = max([seen.longest_lot, *(now - began for began in since.values())])


def _connected(lab: Lab) -> Any:
    return pymysql.connect(
        host="127.0.0.1",
        port=lab.ports["db"],
        user=mariadb.USER,
        password=lab.secrets["database"],
        database=mariadb.DATABASES[0],
        autocommit=True,
        ssl_disabled=True,
    )


def _all(lab: Lab, statement: str) -> list[Any]:
    """Run a statement that may take long."""
    with _connected(lab) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _rows(lab: Lab) -> dict[str, int]:
    """Return how many rows the tables have that a sync writes to."""
    names = {
        "migratekit_oma": ("joblog_jobs", "joblog_steps", "joblog_events", "replication_jobs", "vm_disks"),
        "migratekit_volumes": ("volume_operations", "idempotency_keys"),
    }
    return {
        table: int(sql(lab, f"SELECT COUNT(*) AS n FROM {table}", database=database)[0]["n"])
        for database, tables in names.items()
        for table in tables
    }


def sizes(lab: Lab) -> dict[str, int]:
    """Return the bytes of each table, by its files."""
    found = {}
    for path in sorted((lab.run / "mariadb").glob("migratekit_*/*.ibd")):
        found[f"{path.parent.name.removeprefix('migratekit_')}.{path.stem}"] = path.stat().st_size
    return {name: size for name, size in found.items() if size > 1 << 20}


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"median {ordered[len(ordered) // 2]:.2f} s, the longest {ordered[-1]:.2f} s"
