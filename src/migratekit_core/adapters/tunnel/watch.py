"""Ends the OMA's connections whose certificate has expired or was revoked while they were open.

HAProxy looks at a certificate once, when a connection begins. It keeps a table with a row for each connection that is
open (`server.LIVE`); what does not hold any more is looked up there, and ended by the socket for administration. A list
of revoked certificates that has changed is handed over, too, so that nobody of it comes again. HAProxy's management
guide has the commands (show table, show sess, shutdown session, set and commit ssl crl-file).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from cryptography import x509

from migratekit_core.adapters.tunnel.server import LIVE
from migratekit_core.config.schema import TunnelServer

EVERY_SECONDS = 15.0
ANSWER_SECONDS = 10.0
MOST_BYTES = 64 << 20
"""Of one answer: a line for each connection."""
ROW = re.compile(r"key=([0-9A-F]+)/([0-9]{12}Z)/([0-9a-f.:]+)/([0-9]{1,5}) .*conn_cur=([0-9]+)")
SESSION = re.compile(r"^(0x[0-9a-f]+): .*?src=(\S+):([0-9]{1,5}) ", re.MULTILINE)
END = b"-----END X509 CRL-----"


@dataclass(frozen=True)
class Open:
    """A connection that is open."""

    serial: int
    """Of the client's certificate."""
    ends: datetime
    """When the certificate expires."""
    peer: tuple[str, str]
    """Address and port."""


@dataclass
class Watch:
    """Looks after one HAProxy; `note` is told what was done, a line each."""

    settings: TunnelServer
    note: Callable[[str], None]
    _loaded: bytes | None = field(default=None)
    """The list of revoked certificates that HAProxy has; None: not known."""

    def run(self, stopping: Event, every: float = EVERY_SECONDS) -> None:
        """Look again and again, until `stopping`. A HAProxy that does not answer is asked again."""
        while True:
            try:
                self.once()
            except (OSError, ValueError) as error:
                self.note(f"HAProxy was not asked: {error}")
                self._loaded = None
            if stopping.wait(every):
                return

    def once(self, now: datetime | None = None) -> int:
        """End what does not hold any more; return how many connections that were. Raises OSError where HAProxy does not
        answer, and ValueError for a list that is none."""
        revoked = self._revoked()
        there = opened(ask(self.settings.stats_socket, f"show table {LIVE}"))
        doomed = {one.peer: why for one in there if (why := reason(one, revoked, now or datetime.now(UTC)))}
        if not doomed:
            return 0
        ended = 0
        for session_id, address, port in SESSION.findall(ask(self.settings.stats_socket, "show sess")):
            if (address, port) in doomed:
                ask(self.settings.stats_socket, f"shutdown session {session_id}")
                self.note(f"ended {address}:{port}: its certificate {doomed[address, port]}")
                ended += 1
        return ended

    def _revoked(self) -> frozenset[int]:
        """Return the serials that are revoked; where the list has changed, HAProxy gets it first."""
        path = self.settings.crl_file
        if path is None:
            return frozenset()
        data = path.read_bytes()
        lists = [x509.load_pem_x509_crl(part + END + b"\n") for part in data.split(END)[:-1]]
        if data != self._loaded:
            # An empty line ends the payload, so there may be none in it.
            text = "\n".join(line for line in data.decode("ascii").splitlines() if line.strip())
            told = ask(self.settings.stats_socket, f"set ssl crl-file {path} <<\n{text}\n")
            told += ask(self.settings.stats_socket, f"commit ssl crl-file {path}")
            if "Success" not in told:
                raise ValueError(f"it does not take {path}: {' '.join(told.split())}")
            self._loaded = data
        return frozenset(one.serial_number for each in lists for one in each)


def opened(table: str) -> Iterable[Open]:
    """Yield the connections that are open, of what `show table` says."""
    for serial, ends, address, port, count in ROW.findall(table):
        if int(count):
            moment = datetime.strptime(ends, "%y%m%d%H%M%SZ").replace(tzinfo=UTC)
            yield Open(int(serial, 16), moment, (address, port))


def reason(one: Open, revoked: frozenset[int], now: datetime) -> str:
    """Return why a connection is to end, or ""."""
    if one.serial in revoked:
        return f"{one.serial:X} is revoked"
    return f"{one.serial:X} expired at {one.ends:%Y-%m-%d %H:%M:%S} UTC" if one.ends <= now else ""


def ask(path: Path, command: str) -> str:
    """Return what HAProxy answers to a command. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_SECONDS)
        client.connect(str(path))
        client.sendall(f"{command}\n".encode())
        answer = b""
        while (data := client.recv(65536)) and len(answer) < MOST_BYTES:
            answer += data
    return answer.decode("utf-8", "replace")
