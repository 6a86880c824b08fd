"""The daemon's log in systemd's journal: entries in its native protocol, with fields, without secrets."""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.common.redact import remember
from migratekit_core.joblog import Entry
from migratekit_core.volumed.daemon import bridge


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What journald listens on, while our stderr is said to be its stream."""
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "journal"))
        listening.settimeout(5)
        monkeypatch.setattr(bridge, "JOURNAL", tmp_path / "journal")
        monkeypatch.setattr(bridge, "_is_stderr", lambda stream: stream == "8:1")
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
        bridge.start("info")
        yield listening
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)


def fields(datagram: bytes) -> dict[str, str]:
    """Return an entry's fields: NAME=value lines, or NAME, length and a value of several lines."""
    found: dict[str, str] = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        found[name.decode()] = value.decode()
        datagram = rest
    return found


def test_what_the_joblog_records_is_an_entry_with_fields(journal: socket.socket) -> None:
    secret = remember("a-secret-that-nobody-may-read")
    told = f"two lines\nwith {secret}"
    bridge.entry(
        Entry("warning", "attached", told, "job-1", "volume-attach", "correlation-1", "attach-volume", {"size": 7})
    )
    found = fields(journal.recv(65536))
    assert found["MESSAGE"].splitlines()[0] == "two lines"
    assert secret not in str(found)
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"]) == ("4", "migratekit-volumed")
    named = ("EVENT", "JOB_ID", "KIND", "STEP", "CORRELATION_ID", "SIZE")
    wanted = ["attached", "job-1", "volume-attach", "attach-volume", "correlation-1", "7"]
    assert [found[f"MIGRATEKIT_{name}"] for name in named] == wanted


def test_a_read_is_not_worth_an_entry_and_a_failure_is(journal: socket.socket) -> None:
    bridge.request("GET", "/api/v1/volumes", 200, 0.01, {"request_id": "r-1"})
    bridge.request("GET", "/api/v1/volumes", 503, 0.01, {"request_id": "r-2"})
    found = fields(journal.recv(65536))
    assert (found["MIGRATEKIT_REQUEST_ID"], found["MIGRATEKIT_STATUS"], found["PRIORITY"]) == ("r-2", "503", "3")


def test_a_journal_that_is_gone_costs_no_line(journal: socket.socket, capsys: pytest.CaptureFixture[str]) -> None:
    Path(journal.getsockname()).unlink()
    bridge.note("still told", number=1)
    assert "still told number=1" in capsys.readouterr().err
