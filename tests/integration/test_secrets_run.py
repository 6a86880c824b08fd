"""A whole migration with planted secrets, from the first sync to the new machine, and everything it leaves or shows:
processes and their environments, files, both databases, what goes over HTTP, tracebacks."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest

from migratekit_core.common.files import write_private
from tests.integration.recorder import Recorder, recording
from tests.integration.support import dump, leaked, run, sql
from tests.integration.test_secrets import watching
from tests.lab.lab import Lab

VM = "planted01"
VARIABLES = {"vcenter": "PLANTED_VCENTER", "ossea-secret": "PLANTED_SECRET", "database": "PLANTED_DATABASE"}
"""Secrets that come from the environment here: nothing that is started may inherit them."""
LONGEST_FILE = 64 << 20


@contextmanager
def keeping(folder: Path) -> Iterator[dict[str, bytes]]:
    """Collect, as long as the block runs, the content of every file in a folder; most of them do not stay long."""
    kept: dict[str, bytes] = {}
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(0.02):
            for file in folder.rglob("*"):
                with contextlib.suppress(OSError):
                    if file.is_file() and file.stat().st_size < LONGEST_FILE:
                        kept[str(file)] = file.read_bytes()

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield kept
    finally:
        ended.set()
        watcher.join()


def settings(lab: Lab, cloud: Recorder, daemon: Recorder, temporary: Path) -> dict[str, str]:
    """Return the settings of a command line on the OMA itself: the daemon and the cloud are reached through recorders,
    and some secrets come from the environment."""
    url = urlsplit(lab.cloud.url)
    return {
        "MIGRATEKIT_DATABASE__PORT": str(lab.ports["db"]),
        "MIGRATEKIT_VOLUMES__PORT": str(daemon.port),
        "MIGRATEKIT_VOLUMES__NBD_PORT": str(lab.ports["nbd"]),
        "MIGRATEKIT_OSSEA__API_URL": f"{url.scheme}://127.0.0.1:{cloud.port}{url.path}",
        "MIGRATEKIT_VCENTER__PASSWORD": f'{{ env = "{VARIABLES["vcenter"]}" }}',
        "MIGRATEKIT_OSSEA__SECRET_KEY": f'{{ env = "{VARIABLES["ossea-secret"]}" }}',
        "MIGRATEKIT_DATABASE__PASSWORD": f'{{ env = "{VARIABLES["database"]}" }}',
        "TMPDIR": str(temporary),
        "XDG_RUNTIME_DIR": str(temporary),
        **{variable: lab.secrets[name] for name, variable in VARIABLES.items()},
    }


def spelled(lab: Lab, text: str | bytes) -> list[str]:
    """Return the names of the lab's secrets that something holds, however they are written."""
    text = text.decode(errors="replace") if isinstance(text, bytes) else text
    return leaked(lab, text) + [name for name, secret in lab.secrets.items() if quote(secret, safe="") in text]


@pytest.mark.timeout(900)  # fifteen commands, on a machine that may have much else to do
def test_a_whole_migration_shows_no_secret(lab: Lab, tmp_path: Path) -> None:
    on_oma = tmp_path / "config.toml"
    write_private(on_oma, re.sub(r"(?s)\[tunnel\].*?(?=\n\[)", "", lab.config.read_text()))
    lab = replace(lab, config=on_oma)
    url = urlsplit(lab.cloud.url)
    assert url.port is not None
    said = []
    with (
        # Short: a socket whose path is too long goes elsewhere, and this folder is what is looked into.
        tempfile.TemporaryDirectory(prefix="mk-t-") as temporary,
        recording(url.port) as cloud,
        recording(lab.ports["daemon"]) as daemon,
        watching(lab) as commands,
        keeping(Path(temporary)) as files,
    ):
        extra = settings(lab, cloud, daemon, Path(temporary))
        for arguments, code in (
            (("replicate", VM), 0),
            (("verify", VM), 0),
            (("replicate", VM, "--compare", "--output", "json"), 0),
            (("test-failover", VM, "--output", "json"), 0),
            (("cleanup", VM), 0),
            (("failover", VM, "--yes"), 0),
            (("report", VM, "--html", str(tmp_path / "report.html")), 0),
            (("jobs", "export", "--vm", VM, "--file", str(tmp_path / "jobs.jsonl")), 0),
            (("volumes", "operations", "--output", "json"), 0),
        ):
            done = run(lab, "--debug", *arguments, **extra)
            assert done.returncode == code, done.stderr
            said.append(done)
        failing = [
            run(lab, "--debug", "replicate", VM, **extra),
            run(lab, "--debug", "discover", **{**extra, "MIGRATEKIT_VCENTER__PORT": "9"}),
            run(lab, "--debug", "discover", **{**extra, "MIGRATEKIT_VCENTER__USER": "nobody@vsphere.local"}),
            run(lab, "--debug", "test-failover", "main01", **{**extra, **BROKEN}),
            run(lab, "--debug", "jobs", "list", **{**extra, "MIGRATEKIT_DATABASE__USER": "nobody"}),
        ]

    # What was said, tracebacks included.
    assert all(done.returncode not in {0, 1} for done in failing), [(d.args, d.returncode, d.stderr) for d in failing]
    assert all("Traceback (most recent call last)" in done.stderr for done in failing)
    for done in [*said, *failing]:
        assert spelled(lab, done.stdout + done.stderr) == [], done.args
        assert WRONG_KEY not in done.stdout + done.stderr

    # Command lines, and the environments of all but the commands themselves.
    parts = ("migratekit_core.engine", "migratekit_core.engine.digests", "nbdkit")
    assert all(any(part in line for line in commands) for part in parts), sorted(commands)
    for line, environment in commands.items():
        assert spelled(lab, line) == [], line[:80]
        if "bin/migratekit " not in line:
            assert spelled(lab, environment) == [], line[:80]
            assert not any(f"{variable}=" in environment for variable in VARIABLES.values()), line[:80]

    # Files: temporary ones while they were there, what was asked for, and all that the lab's parts keep.
    assert any("log" in name for name in files), sorted(files)
    for name, content in files.items():
        assert spelled(lab, content) == [], name
    for file in written(lab, tmp_path):
        assert spelled(lab, file.read_bytes()) == [], file

    # Both databases, as rows; their files on disk are among those above.
    assert sql(lab, "SELECT id FROM joblog_events LIMIT 1")
    assert spelled(lab, dump(lab)) == []

    # HTTP: the token in its header, the API key in its parameter, and nothing anywhere else.
    requests = [request for each in daemon.sent for request in split(each)]
    assert len(requests) > 20
    for request in requests:
        token = f"Bearer {lab.secrets['daemon']}"
        assert spelled(lab, re.sub(rf"(?im)^authorization: {re.escape(token)}\r?$", "", request)) == [], request[:200]
    calls = [request for each in cloud.sent for request in split(each)]
    assert len(calls) > 10
    for request in calls:
        assert spelled(lab, without_api_key(lab, request)) == [], request[:200]


WRONG_KEY = "planted-and-no-key-of-the-cloud"
BROKEN = {"MIGRATEKIT_OSSEA__API_KEY": '{ env = "PLANTED_KEY" }', "PLANTED_KEY": WRONG_KEY}


def written(lab: Lab, folder: Path) -> Iterator[Path]:
    """Yield every file of the run: logs, states, databases, volumes' metadata; not those that hold secrets on purpose,
    nor what the machines have on their disks."""
    purpose = {
        lab.config,
        lab.daemon_config,
        lab.run / "mariadb-init.sql",
        *lab.run.glob("*.secret"),
        *lab.run.glob("*.pass"),
        lab.run / "cloud-keys.json",
    }
    private = {lab.run / "pki", lab.run / "vcenter-pki", lab.run / "images", lab.run / "datastore", lab.run / "cloud"}
    for root in (lab.run, lab.sockets, folder):
        for at, _, names in os.walk(root):
            if Path(at) in private or any(parent in private for parent in Path(at).parents):
                continue
            for name in names:
                file = Path(at) / name
                if file not in purpose and file.is_file() and file.stat().st_size < LONGEST_FILE:
                    yield file


def split(sent: bytes) -> list[str]:
    """Return the requests of a connection."""
    text = sent.decode(errors="replace")
    return [part for part in re.split(r"(?=(?:GET|POST|DELETE|PUT) /\S* HTTP/1\.1\r\n)", text) if part]


def without_api_key(lab: Lab, request: str) -> str:
    """Return a request of CloudStack's API without its own parameter for the key."""
    key = quote(lab.secrets["ossea-api"], safe="")
    line = request.splitlines()[0]
    assert "secretkey" not in {name.lower() for name, _ in parse_qsl(urlsplit(line.split(" ")[1]).query)}
    return re.sub(rf"(?i)\bapikey={re.escape(key)}", "", request)
