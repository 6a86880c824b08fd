"""One kept-alive connection to a web server, for parts of a file: no redirects, no compression, no proxy.

Everything that the server sends is bounded and checked. A body goes from TLS into the caller's buffer, without a copy
between.
"""

from __future__ import annotations

import re
import select
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from migratekit_core.adapters.readers.remote.channel import FailedError

SILENT_SECONDS = 60.0
"""For which a server may send nothing."""
ANSWER_SECONDS = 120.0
"""In which an answer has to be complete: a datastore that takes longer is gone."""
CONNECT_SECONDS = 20.0
LONGEST_HEAD = 1 << 16
LONGEST_LINE = 1024
"""Of a chunk's size."""
MOST_INTERIM = 8
"""Answers with a status of 1xx before the real one."""
LONGEST_TEXT = 200

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: .*)?")
_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_NUMBER = re.compile(r"[0-9]{1,19}")


class Server(NamedTuple):
    """Where the file is."""

    host: str
    port: int
    target: str
    """The request's: path and query."""

    @property
    def authority(self) -> str:
        """Return what the header Host says."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Answer:
    """The head of an answer."""

    status: int
    headers: dict[str, str]
    """By their names in small letters; several of one name in one line."""
    lasting: bool
    """Whether the connection can be used again."""

    @property
    def page(self) -> bool:
        """Return whether it is something for a browser."""
        return "html" in self.headers.get("content-type", "").lower()

    @property
    def length(self) -> int | None:
        """Return how many bytes of body come, None where the server does not say. Raises FailedError."""
        given = self.headers.get("content-length")
        if self.chunked or given is None:
            return None
        if not _NUMBER.fullmatch(given):
            raise FailedError("no-http", text=f"Content-Length: {given[:LONGEST_TEXT]}")
        return int(given)

    @property
    def chunked(self) -> bool:
        """Return whether the body comes in chunks."""
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    def part(self) -> tuple[int, int, int] | None:
        """Return the first and the last byte that it has, and the size of the whole; None where it says no such."""
        found = _RANGE.fullmatch(self.headers.get("content-range", ""))
        if found is None or found[3] == "*":
            return None
        return int(found[1]), int(found[2]), int(found[3])


def trust(ca_file: str) -> ssl.SSLContext:
    """Return whom we trust: this file's authorities alone, or without one the system's."""
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise FailedError("untrusted", text=str(error)) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


class Connection:
    """A connection, for one thread at a time. What goes wrong is FailedError, and then it is of no use any more."""

    def __init__(self, server: Server, context: ssl.SSLContext) -> None:
        """Connect, and check the certificate."""
        self.answers = 0
        """How many have come: a server may close a connection that is kept without a word."""
        self._server = server
        self._held = bytearray(LONGEST_HEAD)
        self._view = memoryview(self._held)
        self._begin = self._end = 0
        self._deadline = 0.0
        try:
            plain = socket.create_connection((server.host, server.port), CONNECT_SECONDS)
        except OSError as error:
            raise FailedError("unreachable", again=True, text=_words(error)) from None
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context.wrap_socket(plain, server_hostname=server.host)
            self._socket.settimeout(SILENT_SECONDS)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            raise FailedError("untrusted", text=error.verify_message) from None
        except OSError as error:
            plain.close()
            raise FailedError("unreachable", again=True, text=_words(error)) from None

    def close(self) -> None:
        """Let go of it; whoever waits for an answer on it gets an error."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def clean(self) -> bool:
        """Return whether a new question can be asked: nothing more has come than was asked for, and nobody left."""
        if self._begin != self._end or self._socket.pending():
            return False
        return not select.select([self._socket], [], [], 0)[0]

    def ask(self, first: int, last: int, cookie: str) -> Answer:
        """Ask for the bytes from `first` to `last`; return the head of the answer."""
        lines = [
            f"GET {self._server.target} HTTP/1.1",
            f"Host: {self._server.authority}",
            f"Range: bytes={first}-{last}",
            "Accept-Encoding: identity",
            "User-Agent: migratekit",
            *([f"Cookie: {cookie}"] if cookie else []),
        ]
        self._deadline = time.monotonic() + ANSWER_SECONDS
        try:
            self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        except OSError as error:
            raise FailedError("torn", again=True, text=_words(error)) from None
        for _ in range(MOST_INTERIM):
            answer = self._head()
            if answer.status >= 200:
                self.answers += 1
                return answer
        raise FailedError("no-http", again=True, text="interim answers alone")

    def fill(self, buffer: memoryview, answer: Answer) -> None:
        """Fill the buffer with the body, which has to have just that length."""
        if answer.chunked:
            self._chunks(buffer)
        else:
            self._exactly(buffer)

    def _exactly(self, buffer: memoryview) -> None:
        there = min(len(buffer), self._end - self._begin)
        buffer[:there] = self._view[self._begin : self._begin + there]
        self._begin += there
        while there < len(buffer):
            there += self._receive(buffer[there:])

    def _chunks(self, buffer: memoryview) -> None:
        there = 0
        while True:
            words = self._line().split(b";")[0].strip()
            if not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", words):
                raise FailedError("no-http", again=True, text="a chunk without a size")
            size = int(words, 16)
            if size > len(buffer) - there:
                raise FailedError("length", wanted=len(buffer))
            if not size:
                break
            self._exactly(buffer[there : there + size])
            there += size
            if self._line():
                raise FailedError("no-http", again=True, text="a chunk longer than its size")
        if there != len(buffer):
            raise FailedError("length", wanted=len(buffer))
        for _ in range(64):
            if not self._line():
                return
        raise FailedError("no-http", again=True, text="a trailer without an end")

    def _line(self) -> bytes:
        while True:
            at = self._held.find(b"\n", self._begin, self._end)
            if at >= 0:
                line = bytes(self._view[self._begin : at]).rstrip(b"\r")
                self._begin = at + 1
                return line
            if self._end - self._begin > LONGEST_LINE:
                raise FailedError("no-http", again=True, text="a line without an end")
            self._more()

    def _head(self) -> Answer:
        searched = self._begin
        while (at := self._held.find(b"\r\n\r\n", searched, self._end)) < 0:
            searched = max(self._begin, self._end - 3)
            if self._end - self._begin >= LONGEST_HEAD:
                raise FailedError("no-http", again=True, text="headers without an end")
            moved = self._begin
            self._more()
            searched -= moved - self._begin
        lines = bytes(self._view[self._begin : at]).split(b"\r\n")
        self._begin = at + 4
        status = _STATUS.fullmatch(lines[0])
        if status is None:
            raise FailedError("no-http", again=True, text="its first line is no status of HTTP/1.1")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                raise FailedError("no-http", again=True, text="a header without a colon")
            key, text = name.decode("latin-1").lower(), value.decode("latin-1").strip()
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        tokens = headers.get("connection", "").lower()
        lasting = "keep-alive" in tokens if status[1] == b"0" else "close" not in tokens
        return Answer(int(status[2]), headers, lasting)

    def _more(self) -> None:
        """Receive more of what is not the body of a part."""
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._end == LONGEST_HEAD:
            rest = self._end - self._begin
            self._view[:rest] = bytes(self._view[self._begin : self._end])
            self._begin, self._end = 0, rest
        self._end += self._receive(self._view[self._end :])

    def _receive(self, buffer: memoryview) -> int:
        if time.monotonic() > self._deadline:
            raise FailedError("slow", again=True, seconds=int(ANSWER_SECONDS))
        try:
            count = self._socket.recv_into(buffer)
        except TimeoutError:
            raise FailedError("slow", again=True, seconds=int(SILENT_SECONDS)) from None
        except (OSError, ValueError) as error:
            # ValueError: closed by another thread, which has the disk closed.
            raise FailedError("torn", again=True, text=_words(error)) from None
        if not count:
            raise FailedError("torn", again=True, text="the server closed the connection")
        return count


def _words(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:LONGEST_TEXT]
