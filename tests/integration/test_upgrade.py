"""An installation of the last release is upgraded and keeps its replicas: the next sync is incremental."""

from __future__ import annotations

import io
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.integration.machines import machine, random_disk, thin
from tests.integration.support import MIB, identical, report, sql, volume_ids
from tests.lab import guest
from tests.lab.lab import COMMAND, ROOT, Lab, running
from tests.lab.parts import mariadb, oma, process

LAST_RELEASE = "0ff48bb"
"""The commit of 0.1.0."""
VM = "kept01"


def inventory(images: guest.Images) -> dict[str, Any]:
    return {"vms": [machine(VM, random_disk(images, VM, 6 * MIB), thin(16 * MIB))]}


@pytest.fixture(scope="module")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the command of the last release: its code in front of today's, in today's environment."""
    folder = tmp_path_factory.mktemp("last-release")
    packed = subprocess.run(
        ["git", "archive", LAST_RELEASE, "src", "sql", "VERSION.txt"], cwd=ROOT, capture_output=True, check=False
    )
    assert packed.returncode == 0, f"the history is needed (git fetch --unshallow): {packed.stderr.decode()}"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder)
    command = folder / "migratekit"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}/src" exec "{COMMAND}" "$@"\n')
    command.chmod(0o755)
    return command


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: its databases are made by the last release."""
    run = tmp_path_factory.mktemp("upgrade") / "run"
    with running(run, preferred_ports=False, inventory=inventory) as started:
        yield started


def install(lab: Lab, command: Path) -> None:
    """Have the last release installed on both hosts, with empty databases."""
    process.end(lab.parts["daemon"].process.pid)
    lab.parts["daemon"].process.wait(60)
    admin = pymysql.connect(
        host="127.0.0.1", port=lab.ports["db"], user=mariadb.USER, password=lab.secrets["database"], autocommit=True
    )
    with admin, admin.cursor() as cursor:
        for name in mariadb.DATABASES:
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    old(lab, command, "db", "upgrade")
    lab.parts["daemon"] = oma.start_daemon(lab.run, command, lab.daemon_config, lab.ports["daemon"])


def old(lab: Lab, command: Path, *arguments: str) -> str:
    """Run a command of the last release, which has to work."""
    done = subprocess.run(
        [command, "--config", str(lab.config), *arguments],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The last release asks CloudStack in ways that a real one refuses.
@pytest.mark.bad_requests
def test_an_installation_of_the_last_release_keeps_its_replicas(lab: Lab, last_release: Path) -> None:
    install(lab, last_release)
    assert "full sync" in old(lab, last_release, "replicate", VM)
    guest.scatter(lab.vcenter, VM, 0, 6 * MIB, 5, random.Random(1))
    assert "incremental sync" in old(lab, last_release, "replicate", VM)
    volumes = volume_ids(lab, VM)
    reported = json.loads(old(lab, last_release, "report", VM, "--output", "json"))
    jobs = {str(row["id"]) for row in sql(lab, "SELECT id FROM replication_jobs")}
    process.end(lab.parts["daemon"].process.pid)
    lab.parts["daemon"].process.wait(60)

    # The upgrade: new code on both hosts, the databases, the daemon.
    report(lab, "db", "upgrade")
    lab.restart_daemon()
    report(lab, "db", "check")
    # Its joblog has kinds now, and tells the same.
    assert sql(lab, "SELECT DISTINCT message FROM joblog_events WHERE kind IS NULL") == []
    told = report(lab, "report", VM)
    assert [told[part] for part in ("syncs", "made")] == [reported[part] for part in ("syncs", "made")]
    guest.scatter(lab.vcenter, VM, 0, 6 * MIB, 5, random.Random(2))
    synced = report(lab, "replicate", VM)
    assert synced["kind"] == "incremental"
    assert volume_ids(lab, VM) == volumes, "the same volumes"
    identical(lab, VM)
    assert jobs < {str(row["id"]) for row in sql(lab, "SELECT id FROM replication_jobs")}, "its history is kept"
    # What the last release could not do against a real CloudStack.
    listed = {volume["id"] for volume in report(lab, "volumes", "list")["volumes"]}
    assert set(volumes) <= listed
