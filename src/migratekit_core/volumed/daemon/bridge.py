"""The daemon's log: what the joblog records, and requests, as they are written to the journal or to stderr.

Under systemd, where stderr is the journal, entries go there with fields of their own (`journalctl MIGRATEKIT_…=`);
elsewhere as lines. This is the one module that knows Python's logging: the libraries below us use it.
"""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migratekit_core.common.redact import redact, redact_fields
from migratekit_core.joblog import Entry

IDENTIFIER = "migratekit-volumed"
JOURNAL = Path("/run/systemd/journal/socket")
PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}
"""syslog(3)'s numbers, which the journal uses."""
LONGEST = 16 * 1024
"""Bytes of one field: an entry has to fit into a datagram."""

_log = logging.getLogger("migratekit")


def start(level: str) -> None:
    """Have everything from `level` on written, our own and the libraries'."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    handler = Journal(JOURNAL) if _is_stderr(stream) and JOURNAL.exists() else Lines()
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _log.setLevel(level.upper())


def entry(recorded: Entry) -> None:
    """Write what the joblog recorded."""
    fields = {
        "event": recorded.event,
        "job_id": recorded.job_id,
        "kind": recorded.kind,
        "step": recorded.step,
        "correlation_id": recorded.correlation_id,
        **recorded.fields,
    }
    _write(recorded.level, recorded.message, fields)


def request(method: str, path: str, status: int, seconds: float, ids: dict[str, str]) -> None:
    """Write how a request ended. One that only read, and could, is for `debug`."""
    level = "error" if status >= 500 else "warning" if status >= 400 else "debug" if method == "GET" else "info"
    fields = {"method": method, "path": path, "status": status, "milliseconds": round(seconds * 1000, 1), **ids}
    _write(level, f"{method} {path} {status}", fields)


def failure(error: BaseException, request_id: str) -> None:
    """Write a bug down, with where it was: file names and lines, no values."""
    places = []
    trace = error.__traceback__
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    _write("error", f"{type(error).__name__}: {error}", {"request_id": request_id, "trace": " ".join(places)})


def note(message: str, **fields: Any) -> None:
    """Write something about the daemon itself."""
    _write("info", message, fields)


def _write(level: str, message: str, fields: dict[str, Any]) -> None:
    _log.log(getattr(logging, level.upper(), logging.INFO), "%s", message, extra={"fields": fields})


class Lines(logging.Handler):
    """Lines on stderr: time, level, message, fields."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one."""
        message, fields = _content(record)
        told = "".join(f" {name}={_quoted(value)}" for name, value in fields.items() if value not in ("", None))
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z {record.levelname.lower()} {message}{told}"
        with suppress(OSError):
            sys.stderr.write(" ".join(line.splitlines()) + "\n")
            sys.stderr.flush()


class Journal(logging.Handler):
    """Entries in the journal's own protocol, one datagram each (systemd's JOURNAL_NATIVE_PROTOCOL)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._lines = Lines()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one; a line on stderr, which the journal reads as well, where that fails."""
        message, fields = _content(record)
        named = {f"MIGRATEKIT_{name.upper()}": value for name, value in fields.items() if value not in ("", None)}
        own = {"PRIORITY": PRIORITY.get(record.levelname, 6), "SYSLOG_IDENTIFIER": IDENTIFIER, "MESSAGE": message}
        try:
            self._socket.sendto(b"".join(_field(name, str(value)) for name, value in (own | named).items()), self._path)
        except OSError:
            self._lines.emit(record)


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")[:LONGEST]
    if b"\n" not in data:
        return f"{name}=".encode() + data + b"\n"
    return f"{name}\n".encode() + struct.pack("<Q", len(data)) + data + b"\n"


def _content(record: logging.LogRecord) -> tuple[str, dict[str, Any]]:
    """Return a record's message and fields without secrets; of a library's traceback only the error itself."""
    message = record.getMessage()
    if record.exc_info and record.exc_info[0] is not None:
        message += f" ({record.exc_info[0].__name__}: {record.exc_info[1]})"
    fields: dict[str, Any] = redact_fields(getattr(record, "fields", {"logger": record.name}))
    return redact(message), fields


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{text}"' if " " in text else text


def _is_stderr(stream: str) -> bool:
    """Return whether $JOURNAL_STREAM (device:inode) is what stderr is connected to; see systemd.exec(5)."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"
