"""Databases of the field on a real MariaDB: what is told about them, and the upgrade, also one that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pytest
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor

from migratekit_core.common.codes import ErrorCode
from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.db.migrate import preview, upgrade_both
from migratekit_core.db.schema import check_both
from tests.integration.support import Done, refused, run, sql
from tests.lab.lab import COMMAND, LAB, Lab, environment
from tests.lab.parts import mariadb, process

SQL = Path(__file__).resolve().parents[2] / "sql" / "legacy"
FORMS = sorted(path.stem for path in SQL.glob("*.sql"))
TABLES = ("device_mappings", "nbd_exports", "volume_operations")
EVERY = int(os.environ.get("LEGACY_EVERY", "10"))
"""An upgrade is cut off after each n-th statement."""


@dataclass(frozen=True)
class Server:
    """A MariaDB with empty databases, and a configuration that leads to it."""

    port: int
    folder: Path

    def connect(self, **options: Any) -> Any:
        return pymysql.connect(host="127.0.0.1", port=self.port, user=mariadb.USER, password="field-password",
                               database="migratekit_volumes", cursorclass=DictCursor, autocommit=True,
                               connect_timeout=10, read_timeout=60, **options)  # fmt: skip

    def execute(self, *statements: str) -> list[dict[str, Any]]:
        with self.connect(client_flag=CLIENT.MULTI_STATEMENTS) as connection, connection.cursor() as cursor:
            found: list[dict[str, Any]] = []
            for statement in statements:
                cursor.execute(statement)
                found = list(cursor.fetchall())
                while cursor.nextset():
                    pass
            return found

    def load(self, form: str) -> None:
        for name in mariadb.DATABASES:
            self.execute(f"DROP DATABASE {name}", f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        self.execute((SQL / f"{form}.sql").read_text())

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """Return every row, with the volume's id under its canonical name."""
        found: dict[str, list[dict[str, Any]]] = {}
        for table in TABLES:
            held = self.execute("SET time_zone = '+00:00'", f"SELECT * FROM {table} ORDER BY id")
            for row in held:
                old = row.pop("volume_uuid", None)
                row["volume_id"] = old or row["volume_id"]
            found[table] = held
        return found

    def command(self, *arguments: str) -> list[str]:
        return [str(COMMAND), "--config", str(self.folder / "config.toml"), *arguments]

    def run(self, *arguments: str) -> Done:
        return subprocess.run(
            self.command(*arguments), env=environment(), capture_output=True, text=True, timeout=60, check=False
        )

    def database(self) -> Database:
        password = SecretSource(file=self.folder / "password")
        return Database(kind="mariadb", host="127.0.0.1", port=self.port, password=password)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk-field-") as name:
        folder = Path(name)
        port = process.choose_port(None)
        part = mariadb.start(folder, LAB / "cache", port, "field-password", folder / "db.sock")
        try:
            (folder / "password").touch(0o600)
            (folder / "password").write_text("field-password")
            (folder / "config.toml").write_text(
                f'[database]\nkind = "mariadb"\nport = {port}\npassword = {{ file = "{folder}/password" }}\n'
            )
            yield Server(port, folder)
        finally:
            part.stop()


@contextmanager
def opened(server: Server) -> Iterator[Databases]:
    databases = open_databases(server.database())
    try:
        yield databases
    finally:
        databases.dispose()


def canonical(server: Server, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Check that the schema is the models' and that every row is what it was."""
    checked = server.run("db", "check")
    assert (checked.returncode, checked.stdout) == (0, "both databases have the schema of this version\n")
    assert server.rows() == rows
    assert "volume_uuid" not in {row["Field"] for row in server.execute("DESCRIBE device_mappings")}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_named_planned_and_upgraded_with_every_row(server: Server, form: str) -> None:
    server.load(form)
    rows = server.rows()
    checked = server.run("db", "check", "-o", "json")
    assert checked.returncode == 7
    differences = json.loads(checked.stdout)["differences"]
    assert all(item[key] for item in differences for key in ("database", "table", "expected", "found"))
    places = {(item["table"], item["column"]) for item in differences if item["database"] == "volumes"}
    assert {("device_mappings", "volume_id"), ("nbd_exports", "volume_id")} <= places

    planned = server.run("db", "upgrade", "--dry-run", "-o", "json")
    assert planned.returncode == 0, planned.stderr
    assert server.run("db", "check", "-o", "json").stdout == checked.stdout, "a dry run changes nothing"
    done = server.run("db", "upgrade", "-o", "json")
    assert done.returncode == 0, done.stderr
    ran = {item["database"]: item["changed"] for item in json.loads(done.stdout)["databases"]}
    said = {item["database"]: item["statements"] for item in json.loads(planned.stdout)["databases"]}
    assert said["volumes"][: len(ran["volumes"])] == ran["volumes"]
    canonical(server, rows)

    again = server.run("db", "upgrade", "-o", "json")
    assert all(item["before"] == item["after"] and not item["changed"]
               for item in json.loads(again.stdout)["databases"])  # fmt: skip
    with pytest.raises(pymysql.err.IntegrityError):
        server.execute("DELETE FROM device_mappings WHERE id = 3")


@pytest.mark.parametrize("form", FORMS)
def test_the_printed_sql_alone_does_the_same(server: Server, form: str) -> None:
    server.load(form)
    rows = server.rows()
    planned = server.run("db", "upgrade", "--dry-run")
    for name, text in zip(mariadb.DATABASES, planned.stdout.split("-- volumes\n"), strict=True):
        server.execute(f"USE {name}; {text}")
    canonical(server, rows)


@pytest.mark.parametrize("form", FORMS)
def test_an_upgrade_that_ended_after_any_statement_is_finished_by_the_next(server: Server, form: str) -> None:
    server.load(form)
    rows = server.rows()
    with opened(server) as databases:
        steps = preview(databases)["volumes"]
    for count in range(1, len(steps), EVERY):
        server.load(form)
        server.execute(*steps[:count])
        with opened(server) as databases:
            upgrade_both(databases)
            assert check_both(databases) == [], f"cut off after {steps[count - 1]}"
        assert server.rows() == rows, f"cut off after {steps[count - 1]}"


@pytest.mark.parametrize("table", TABLES)
def test_kill_9_in_the_middle(server: Server, table: str) -> None:
    server.load("fk_volume_id")
    rows = server.rows()
    with server.connect() as holder, holder.cursor() as cursor:
        # A reader's transaction keeps ALTER TABLE waiting: that is where the upgrade is killed.
        cursor.execute("START TRANSACTION")
        cursor.execute(f"SELECT * FROM {table}")
        with subprocess.Popen(server.command("db", "upgrade"), env=environment(), stderr=subprocess.PIPE) as upgrade:
            deadline = time.monotonic() + 60
            waiting = "SELECT 1 FROM information_schema.processlist WHERE state LIKE 'Waiting for table metadata%'"
            while not server.execute(waiting):
                assert upgrade.poll() is None and time.monotonic() < deadline, "it never came to the table"
                time.sleep(0.02)
            upgrade.send_signal(signal.SIGKILL)
            upgrade.wait()
    assert server.run("db", "check").returncode == 7
    done = server.run("db", "upgrade")
    assert done.returncode == 0, done.stderr
    canonical(server, rows)


def test_two_names_of_one_volume_that_disagree_stop_the_upgrade_before_it_changes_anything(server: Server) -> None:
    server.load("fk_volume_id")
    server.execute("UPDATE device_mappings SET volume_id = 'another' WHERE id = 9")
    before = server.execute("SELECT * FROM device_mappings")
    done = server.run("db", "upgrade")
    assert done.returncode == 7
    for part in ("device_mappings.volume_id", "8a3c5f0e-0000-4000-8000-000000000003", "another"):
        assert part in done.stderr
    assert server.execute("SELECT * FROM device_mappings") == before


def test_an_export_of_no_volume_stops_the_upgrade_before_it_changes_anything(server: Server) -> None:
    server.load("half_way")
    server.execute("DELETE FROM device_mappings WHERE id = 5")
    before = server.execute("SHOW CREATE TABLE nbd_exports")
    done = server.run("db", "upgrade")
    assert done.returncode == 7
    assert "nbd_exports.volume_id: expected a value of device_mappings.volume_id" in done.stderr
    assert server.execute("SHOW CREATE TABLE nbd_exports") == before


def test_a_value_that_would_be_cut_is_refused_and_kept(server: Server) -> None:
    server.load("fk_volume_uuid")
    server.execute("SET sql_mode = ''", f"UPDATE device_mappings SET vm_id = '{'x' * 50}' WHERE id = 9")
    assert server.run("db", "upgrade").returncode == 1
    assert server.execute("SELECT vm_id FROM device_mappings WHERE id = 9")[0]["vm_id"] == "x" * 50


WRITING = (
    ("replicate", "vm01"),
    ("verify", "vm01"),
    ("test-failover", "vm01"),
    ("failover", "vm01", "--yes"),
    ("cleanup", "vm01"),
)


@pytest.fixture
def legacy_lab(lab: Lab) -> Iterator[Lab]:
    """The lab, its column called as in the field for the time of the test."""
    rename = "ALTER TABLE device_mappings RENAME COLUMN {} TO {}"
    sql(lab, rename.format("volume_id", "volume_uuid"), database="migratekit_volumes")
    try:
        yield lab
    finally:
        sql(lab, rename.format("volume_uuid", "volume_id"), database="migratekit_volumes")


def test_every_command_that_would_write_stops_and_says_where(legacy_lab: Lab) -> None:
    for arguments in WRITING:
        said = refused(legacy_lab, run(legacy_lab, *arguments), 7, ErrorCode.SCHEMA_MISMATCH)
        assert "device_mappings.volume_id: expected column, found no such column (has: volume_uuid)" in said, arguments


def test_the_daemon_does_not_start_on_a_schema_that_is_not_its_own(legacy_lab: Lab, tmp_path: Path) -> None:
    config = legacy_lab.daemon_config.read_text()
    settings = [line if not line.startswith("state_dir") else f'state_dir = "{tmp_path}/state"'
                for line in config.splitlines()]  # fmt: skip
    path = tmp_path / "daemon.toml"
    path.touch(0o600)
    path.write_text("\n".join(settings))
    done = subprocess.run([str(COMMAND), "--config", str(path), "volumes", "daemon", "run"], env=environment(),
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    said = refused(legacy_lab, done, 7, ErrorCode.SCHEMA_MISMATCH)
    assert "device_mappings.volume_id: expected column" in said
