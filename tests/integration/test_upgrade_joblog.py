"""A joblog that the last release wrote says the same after the upgrade, and its events have their kinds."""

from __future__ import annotations

import ast
import io
import json
import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.config.schema import Database
from migratekit_core.db.engine import open_databases
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.live import snapshot
from tests.integration import sample_joblog
from tests.integration.test_upgrade import LAST_RELEASE
from tests.lab.lab import COMMAND, ROOT

MADE = {
    "volume created": {"volume_id": "v-1", "name": "disk-0", "size": 1 << 30},
    "volume made": {"volume_id": "v-2", "snapshot_id": "s-1"},
    "snapshot taken": {"volume_id": "v-1", "snapshot_id": "s-1", "name": "mk-test"},
    "volume deleted": {"volume_id": "v-2"},
    "snapshot deleted": {"snapshot_id": "s-1"},
    "machine exists": {"vm_id": "m-1", "name": "web01-test", "path": "template"},
    "machine destroyed": {"vm_id": "m-1"},
}
"""Events that a report tells of what was made, with their fields."""
TOLD = [
    ("snapshot taken", {"snapshot": "snapshot-7"}, EventKind.SOURCE_SNAPSHOT_TAKEN),
    ("12.0 MiB differ", {"disk": "Hard disk 1", "compared": 9, "differing": 3}, EventKind.DISK_DIFFERENT),
    ("asked to stop", {"by": "root@vma", "reason": "x"}, EventKind.STOP_ASKED),
    ("cannot be cancelled any more", {"reason": "x"}, EventKind.CANCEL_CLOSED),
    ("given up: its host is gone", {"by": "root@vma", "host": "gone"}, EventKind.GIVEN_UP),
    ("asked for other settings", {"bandwidth": 1}, EventKind.SETTINGS_ASKED),
    ("asked to cut over now", {}, EventKind.CUTOVER_ASKED),
    ("failover", {"failover_id": "f-1"}, EventKind.FAILOVER_JOINED),
    ("rehearsal 0123", {"machines": [], "volumes": []}, EventKind.REHEARSAL_FOUND),
    ("rehearsal 0123, whose row is lost", {"machines": [], "volumes": []}, EventKind.REHEARSAL_LOST),
    ("snapshot removed", {"id": "s-1", "name": "n", "reason": "r"}, EventKind.ORPHAN_REMOVED),
    ("source started", {"vm": "web01"}, EventKind.SOURCE_BACK),
    ("source was running", {"vm": "web01"}, EventKind.SOURCE_BACK),
    ("source left off", {"vm": "web01"}, EventKind.SOURCE_BACK),
    ("drift: a volume has no device", {"volume_id": "v-1", "kind": "no-device"}, EventKind.DRIFT_FOUND),
    ("drift is over: a volume has no device", {"volume_id": "v-1", "kind": "no-device"}, EventKind.DRIFT_OVER),
    ("create: done", {"seconds": 0.1}, EventKind.PROBE_STEP_DONE),
    # A program may say anything, also what we say.
    ("plan", {"tool": "virt-v2v-in-place"}, EventKind.TOOL_OUTPUT),
    ("drift: it drifts", {"tool": "virt-v2v-in-place"}, EventKind.TOOL_OUTPUT),
    ("nobody says this", {"seconds": 1}, None),
]
"""Texts that are made as they are said, and those of another program, with their kinds."""

WRITE = """
import json, sys
from pathlib import Path
from sample_joblog import VM, make
from migratekit_core.joblog import Tracker

events = json.loads(sys.stdin.read())
tracker = Tracker(make(Path(sys.argv[1]), syncs=3).oma)
with tracker.job("test-failover", owner=VM) as job, job.step("all") as step:
    for text, fields in events:
        step.log(text, **fields)
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the code of the last release."""
    folder = tmp_path_factory.mktemp("release")
    wanted = ("src", "sql", "VERSION.txt", "tests/integration/sample_joblog.py")
    packed = subprocess.run(["git", "archive", LAST_RELEASE, *wanted], cwd=ROOT, capture_output=True, check=False)
    assert packed.returncode == 0, f"the history is needed (git fetch --unshallow): {packed.stderr.decode()}"
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder)
    return folder


def texts(folder: Path) -> set[str]:
    """Return every constant text that code records in a joblog."""
    calls = [node for file in folder.rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))]
    logs = [node for node in calls if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    first = [node.args[0] for node in logs if getattr(node.func, "attr", "") == "log" and node.args]
    # One of two texts, by a condition.
    each = [way for text in first for way in ((text.body, text.orelse) if isinstance(text, ast.IfExp) else (text,))]
    return {text.value for text in each if isinstance(text, ast.Constant) and isinstance(text.value, str)}


def said(release: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return events for the last release to write: every text it has."""
    plain = texts(release / "src")
    assert len(plain) > 60, "every call was found"
    return [*MADE.items(), *((text, {"note": ""}) for text in sorted(plain - MADE.keys()))]


def old(release: Path, *command: str, given: str = "") -> str:
    """Run Python with the code of the last release."""
    paths = f"{release / 'src'}:{release / 'tests' / 'integration'}"
    done = subprocess.run(
        [sys.executable, *command],
        env={**os.environ, "PYTHONPATH": paths},
        cwd=release,
        input=given,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def now(config: Path, *arguments: str) -> Any:
    done = subprocess.run(
        [COMMAND, "--config", str(config), *arguments, "--output", "json"],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_reports_say_the_same_of_what_the_last_release_wrote(release: Path, tmp_path: Path) -> None:
    events = said(release) + [(text, fields) for text, fields, _ in TOLD]
    folder = tmp_path / "databases"
    folder.mkdir()
    old(release, "-c", WRITE, str(folder), given=json.dumps(events))
    config = tmp_path / "config.toml"
    config.write_text(f'[database]\ndirectory = "{folder}"\n')
    config.chmod(0o600)
    main = "from migratekit_cli.main import main; main()"
    report = ("--config", str(config), "report", sample_joblog.VM, "--output", "json")
    before = json.loads(old(release, "-c", main, *report))
    shown = ("jobs", "show", before["jobs"][-1]["job"]["id"])
    shown_before = json.loads(old(release, "-c", main, "--config", str(config), *shown, "--output", "json"))
    assert len(before["made"]) > 4
    assert before["syncs"][0]["disks"][0]["moved_bytes"] > 0
    assert before["verifications"][0]["disks"][0]["result"] == "identical"

    now(config, "db", "upgrade")
    after, shown_after = now(config, "report", sample_joblog.VM), now(config, *shown)
    kinds = {event["message"]: event["kind"] for event in every(after)}
    assert kept(after, before) == before
    assert kept(shown_after, shown_before) == shown_before
    assert set(kinds.values()) - {None} <= set(EventKind)
    assert {text for text, kind in kinds.items() if kind is None} == {"nobody says this"}

    # In the order in which they were written: some texts are there with more than one kind.
    with sqlite3.connect(folder / "oma.sqlite") as database:
        rows = database.execute("SELECT message, kind FROM joblog_events ORDER BY id").fetchall()
    assert rows[-len(TOLD) :] == [(text, kind) for text, _, kind in TOLD]
    databases = open_databases(Database(directory=folder))
    job_id = next(one["job"]["id"] for one in after["jobs"] if one["job"]["kind"] == "test-failover")
    assert snapshot(databases.oma, (job_id,)).jobs[0].asked_to_stop, "a request of before is still found"
    databases.dispose()


def every(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events of all jobs."""
    return [event for one in report["jobs"] for event in one["events"]]


def kept(now: Any, then: Any) -> Any:
    """Return a document without the fields that it has gained since then."""
    if isinstance(now, list) and isinstance(then, list) and len(now) == len(then):
        return [kept(*pair) for pair in zip(now, then, strict=True)]
    if isinstance(now, dict) and isinstance(then, dict):
        return {name: kept(each, then[name]) for name, each in now.items() if name in then}
    return now
