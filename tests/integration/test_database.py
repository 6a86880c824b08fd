"""Both database engines, their upgrades and checks, and a server that goes away in the middle of a sync."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.volumed.client import Endpoint, VolumeClient
from tests.coded import raises
from tests.integration.full_disk import full
from tests.integration.gate import gate
from tests.integration.machines import machine, random_disk
from tests.integration.support import (
    MIB,
    Done,
    eventually,
    finished,
    identical,
    no_children,
    nothing_left,
    refused,
    report,
    run,
    setting,
    sql,
    started,
    volume_ids,
)
from tests.lab.guest import Images
from tests.lab.lab import COMMAND, Lab, running

OUTAGE_SECONDS = float(os.environ.get("JOBLOG_OUTAGE", "1"))
VM = "vm01"


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine(VM, random_disk(images, VM, 24 * MIB))]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose database is stopped and whose tables are dropped."""
    with running(tmp_path_factory.mktemp("db") / "run", preferred_ports=False, inventory=inventory) as started_lab:
        yield started_lab


def embedded(lab: Lab, tmp_path: Path, *arguments: str) -> Done:
    """Run a command with nothing but SQLite below `tmp_path`."""
    config = tmp_path / "sqlite.toml"
    config.write_text(f'[database]\nkind = "sqlite"\ndirectory = "{tmp_path}/db"\n')
    command = [str(COMMAND), "--config", str(config), *arguments]
    return subprocess.run(command, env=setting(lab), capture_output=True, text=True, timeout=60, check=False)


def test_sqlite_from_nothing(shared_lab: Lab, tmp_path: Path) -> None:
    lab = shared_lab
    before = embedded(lab, tmp_path, "db", "check")
    assert before.returncode == 7
    assert "replication_jobs" in before.stdout
    assert "the oma database is empty" in refused(
        lab, embedded(lab, tmp_path, "jobs", "list"), 7, ErrorCode.SCHEMA_MISSING
    )
    first = embedded(lab, tmp_path, "db", "upgrade", "-o", "json")
    assert first.returncode == 0, first.stderr
    made = {item["database"]: item for item in json.loads(first.stdout)["databases"]}
    assert {name: item["before"] for name, item in made.items()} == {"oma": None, "volumes": None}
    again = embedded(lab, tmp_path, "db", "upgrade", "-o", "json")
    assert again.returncode == 0, again.stderr
    assert all(item["before"] == item["after"] for item in json.loads(again.stdout)["databases"])
    checked = embedded(lab, tmp_path, "db", "check")
    assert (checked.returncode, checked.stdout) == (0, "both databases have the schema of this version\n")


def test_sqlite_needs_no_server(shared_lab: Lab, tmp_path: Path) -> None:
    assert embedded(shared_lab, tmp_path, "db", "upgrade").returncode == 0
    database = tmp_path / "db" / "oma.sqlite"
    assert database.stat().st_mode & 0o077 == 0
    with sqlite3.connect(database) as connection:
        connection.execute(
            "INSERT INTO joblog_jobs (id, correlation_id, kind, owner, status, host, pid, process_started, started_at)"
            " VALUES ('j1', 'c1', 'replication', 'some-vm', 'running', ?, 1, 'long ago', '2026-01-02 03:04:05')",
            (Path("/proc/sys/kernel/hostname").read_text().strip(),),
        )
    connection.close()
    listed = embedded(shared_lab, tmp_path, "jobs", "list", "-o", "json")
    assert listed.returncode == 0, listed.stderr
    (job,) = json.loads(listed.stdout)["jobs"]
    # Its process is gone, so it does not run any more.
    assert (job["owner"], job["status"]) == ("some-vm", "interrupted")


def test_sqlite_tells_a_column_that_is_missing(shared_lab: Lab, tmp_path: Path) -> None:
    assert embedded(shared_lab, tmp_path, "db", "upgrade").returncode == 0
    with sqlite3.connect(tmp_path / "db" / "volumes.sqlite") as connection:
        connection.execute("ALTER TABLE device_mappings RENAME COLUMN linux_state TO old_state")
    connection.close()
    checked = embedded(shared_lab, tmp_path, "db", "check", "-o", "json")
    assert checked.returncode == 7
    (difference,) = json.loads(checked.stdout)["differences"]
    place = (difference["database"], difference["table"], difference["column"])
    assert place == ("volumes", "device_mappings", "linux_state")
    assert "old_state" in difference["found"]


def test_mariadb_upgrade_can_be_repeated_and_keeps_every_row(own_lab: Lab) -> None:
    lab = own_lab
    report(lab, "replicate", VM)
    before = sql(lab, "SELECT * FROM vm_disks")
    upgraded = report(lab, "db", "upgrade")["databases"]
    assert [item["database"] for item in upgraded] == ["oma", "volumes"]
    assert all(item["before"] == item["after"] for item in upgraded)
    assert sql(lab, "SELECT * FROM vm_disks") == before
    checked = run(lab, "db", "check")
    assert (checked.returncode, checked.stdout) == (0, "both databases have the schema of this version\n")


def test_a_number_that_is_too_small_for_bytes_is_a_difference(own_lab: Lab) -> None:
    lab = own_lab
    sql(lab, "ALTER TABLE vm_disks MODIFY capacity_bytes INT NOT NULL")
    try:
        said = refused(lab, run(lab, "replicate", VM), 7, ErrorCode.SCHEMA_MISMATCH)
        assert "vm_disks.capacity_bytes: expected BIGINT, found INTEGER" in said
    finally:
        sql(lab, "ALTER TABLE vm_disks MODIFY capacity_bytes BIGINT NOT NULL")
    assert run(lab, "db", "check").returncode == 0


def test_a_database_that_goes_away_delays_a_sync_and_loses_nothing(own_lab: Lab) -> None:
    lab = own_lab
    lab.vcenter.write(VM, 0, 0, random.Random(1).randbytes(20 * MIB))
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        lab.parts["db"].stop()
        time.sleep(OUTAGE_SECONDS)
        lab.restart_database()
        slow.open()
        done = finished(command)
    assert done.returncode == 0, done.stderr
    [job] = report(lab, "jobs", "list", "--vm", VM, "--limit", "1")["jobs"]
    told = report(lab, "jobs", "show", job["id"])
    assert {step["status"] for step in told["steps"]} == {"completed"}
    said = [event["kind"] for event in told["events"]]
    assert said.count("disk-planned") == said.count("disk-copied") == len(lab.vcenter.vm(VM)["disks"])
    identical(lab, VM)
    nothing_left(lab, VM)
    no_children(lab)


def test_a_database_that_stays_away_ends_a_sync_once_and_leaves_no_snapshot(own_lab: Lab) -> None:
    lab = own_lab
    lab.vcenter.write(VM, 0, 0, random.Random(2).randbytes(20 * MIB))
    with gate(lab.vcenter.port, 8 * MIB) as slow:
        extra = {**slow.settings, "MIGRATEKIT_DATABASE__PATIENCE": "4s"}
        with started(lab, "replicate", VM, **extra) as command:
            slow.wait(command)
            lab.parts["db"].stop()
            slow.open()
            try:
                done = finished(command)
                # Before anything waited for the joblog, while nobody could write that it was.
                assert lab.vcenter.vm(VM)["snapshots"] == []
            finally:
                lab.restart_database()
    refused(lab, done, 6, ErrorCode.DATABASE_UNREACHABLE)
    waiting = [line for line in done.stderr.splitlines() if "waiting for it" in line]
    assert len(waiting) == 1, "once for the outage, however many writes waited"
    report(lab, "replicate", VM)
    identical(lab, VM)
    nothing_left(lab, VM)
    no_children(lab)


def test_a_database_whose_disk_is_full_leaves_no_snapshot_and_no_export(own_lab: Lab) -> None:
    lab = own_lab
    report(lab, "replicate", VM)
    [volume_id] = volume_ids(lab, VM)
    lab.vcenter.write(VM, 0, 0, random.Random(3).randbytes(20 * MIB))
    exports = lab.run / "daemon" / "exports"
    endpoint = Endpoint(None, "127.0.0.1", lab.ports["daemon"])
    with gate(lab.vcenter.port, 8 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as command:
        slow.wait(command)
        assert len(list(exports.iterdir())) == 1
        with full(lab):
            slow.open()
            done = finished(command)
            assert lab.vcenter.vm(VM)["snapshots"] == []
            assert list(exports.iterdir()) == []
            assert lab.cloud.volume(volume_id)["virtualmachineid"] is not None
            with closing(VolumeClient(endpoint, lab.secrets["daemon"])) as volumes:
                volumes.detach(volume_id)
                assert lab.cloud.volume(volume_id)["virtualmachineid"] is None
                with raises(OperationFailedError, ErrorCode.NO_SPACE):
                    volumes.attach(volume_id)
    refused(lab, done, 1, ErrorCode.NO_SPACE)
    rows = eventually("operations are written down", lambda: written(lab, ["export", "unexport", "detach"]), 30)
    assert {row["status"] for row in rows} == {"completed"}
    # The rows of what was taken back follow, and so does the sync.
    again = report(lab, "replicate", VM)
    assert again["kind"] == "incremental"
    identical(lab, VM)
    nothing_left(lab, VM)
    no_children(lab)


STATED = "SELECT type, status FROM volume_operations ORDER BY created_at"


def written(lab: Lab, kinds: list[str]) -> list[dict[str, str]]:
    """Return the rows of the last operations where they are of these kinds, [] where they are not."""
    rows = [row for row in sql(lab, STATED, database="migratekit_volumes") if row["type"] != "reconcile"]
    return rows[-len(kinds) :] if [row["type"] for row in rows[-len(kinds) :]] == kinds else []


def test_the_daemon_works_on_after_the_database_restarted(own_lab: Lab) -> None:
    lab = own_lab
    lab.parts["db"].stop()
    lab.restart_database()
    assert report(lab, "volumes", "list")["volumes"]
    lab.vcenter.write(VM, 0, 4096, b"after the restart")
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    identical(lab, VM)
