"""Secrets are in their files and nowhere else: no command line, no environment, no log, no database."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.gate import gate
from tests.integration.support import MARK, MIB, dump, eventually, finished, leaked, run, sql, started
from tests.lab.lab import Lab

pytestmark = pytest.mark.real_start
"""What is forked has no arguments and no environment of its own to be seen from outside."""


@contextmanager
def watching(lab: Lab) -> Iterator[dict[str, str]]:
    """Collect, as long as the block runs, the command lines and environments of what commands start."""
    seen: dict[str, str] = {}
    ended = threading.Event()
    mark = f"{MARK}={lab.run}".encode()
    known: dict[str, bytes] = {}
    """By process, what it was when it was looked at; before it executes a program it is what started it."""

    def look() -> None:
        while not ended.wait(0.02):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    command = (process / "cmdline").read_bytes()
                    if known.get(process.name) == command:
                        continue
                    known[process.name] = command
                    environment = (process / "environ").read_bytes()
                    if mark in environment.split(b"\0") and command:
                        text = command.replace(b"\0", b" ").decode(errors="replace")
                        seen[text] = environment.replace(b"\0", b"\n").decode(errors="replace")

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def test_no_process_of_a_sync_shows_a_secret(lab: Lab) -> None:
    with (
        watching(lab) as seen,
        gate(lab.vcenter.port, 8 * MIB) as slow,
        started(lab, "replicate", "secret01", **slow.settings) as command,
    ):
        slow.wait(command)
        eventually("the engine and the reader were seen", lambda: all(part in str(list(seen)) for part in PARTS), 20)
        slow.open()
        done = finished(command)
    assert done.returncode == 0, done.stderr
    assert leaked(lab, done.stdout + done.stderr) == []
    for line, environment in seen.items():
        assert leaked(lab, line) == [], line[:60]
        assert leaked(lab, environment) == [], line[:60]


PARTS = ("migratekit_core.engine", "nbdkit", "replicate secret01")


def test_no_long_running_part_shows_a_secret(lab: Lab) -> None:
    lab.parts["daemon"].stop()
    lab.restart_daemon()
    parts = [lab.parts["daemon"].process.pid, int((lab.run / "daemon" / "nbdkit.pid").read_text().split()[0])]
    for pid in parts:
        shown = Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
        assert leaked(lab, shown) == []


def test_no_log_and_no_database_holds_a_secret(lab: Lab) -> None:
    away = {"MIGRATEKIT_OSSEA__API_URL": "http://127.0.0.1:9/client/api", "MIGRATEKIT_OSSEA__PATIENCE": "2"}
    refusals = [
        run(lab, "--debug", "replicate", "nobody"),
        run(lab, "--debug", "replicate", "secret01", **away),
        run(lab, "--debug", "test-failover", "secret01", **away),
        run(lab, "--debug", "replicate", "secret01", MIGRATEKIT_VCENTER__PORT="9"),
        run(lab, "jobs", "list", "--nested", "--output", "json"),
        run(lab, "volumes", "list", "--output", "json"),
        run(lab, "volumes", "operations", "--output", "json"),
    ]
    for done in refusals:
        assert leaked(lab, done.stdout + done.stderr) == [], done.args
    logs = [*lab.run.glob("*.log"), *(lab.run / "daemon").glob("*.log"), *(lab.sockets / "vma").glob("*.log")]
    assert {"daemon.log", "vcenter.log", "cloud.log", "nbdkit.log"} <= {log.name for log in logs}
    for log in logs:
        assert leaked(lab, log.read_text(errors="replace")) == [], log
    assert sql(lab, "SELECT id FROM joblog_events LIMIT 1")
    assert leaked(lab, dump(lab)) == []


def test_the_cloud_keys_are_stored_encrypted(lab: Lab) -> None:
    rows = sql(lab, "SELECT name, api_key, secret_key FROM ossea_configs")
    assert rows
    for row in rows:
        # A Fernet token of version 0x80, in urlsafe base64.
        assert row["api_key"].startswith("gAAAAA")
        assert row["secret_key"].startswith("gAAAAA")
        assert leaked(lab, str(row)) == []


def test_what_holds_secrets_is_private(lab: Lab) -> None:
    found = [lab.config, lab.daemon_config, *lab.run.glob("*.secret"), *(lab.run / "pki").glob("*.pem")]
    assert len(found) > 8
    private = [path for path in found if path.name != "ca.pem"]
    assert {path.name: oct(path.stat().st_mode & 0o077) for path in private} == {path.name: "0o0" for path in private}
    for name in ("volumes", "db", "nbd"):
        assert (lab.sockets / "vma" / f"{name}.sock").stat().st_mode & 0o077 == 0
    assert (lab.sockets / "vma").stat().st_mode & 0o077 == 0
