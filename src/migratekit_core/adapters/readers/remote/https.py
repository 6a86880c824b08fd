"""Reads a file of a datastore from vSphere's datastore browser, in parts.

Only 206 is data, and of that only what was asked for, of a file as long as the disk. The session is the command's: it
gives the cookie, and a new one where vCenter has ended it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from migratekit_core.adapters.readers.remote.channel import Channel, ChannelClosedError, FailedError, RefusedError
from migratekit_core.adapters.readers.remote.web import LONGEST_TEXT, Answer, Connection, Server, trust

CONNECTIONS = 8
"""At once, for a disk. One more is opened only where all others are busy."""
TRIES = 5
"""For what no server does for long: half an answer, a very slow one, one that is not HTTP."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each try; the last one from then on."""
RENEWALS = 3
"""Cookies that a read tries: sessions may end one after the other."""
NOTE_SECONDS = 120.0
"""Between two notes that it still waits: the command hears that this process lives."""
PROBE = 512
LAST = 2**63 - 1

AWAY = frozenset({408, 429, 502, 503, 504})
"""Statuses of a server that will answer later."""
OUT_OF_STEP = frozenset({"range", "length", "no-http"})
"""What may be the rest of an earlier answer, where the connection had one; a new connection shows."""
PATIENT = frozenset({"locked", "unavailable", "unreachable"})
"""What passes by itself, in minutes."""


def connect(channel: Channel, settings: dict[str, Any]) -> Folder:
    """Open the file: see that the server gives parts of it, and that it is as long as the disk."""
    folder = Folder(
        channel,
        Server(settings["host"], settings["port"], settings["target"]),
        str(settings["ca_file"]),
        int(settings["size"]),
        float(settings["patience"]),
    )
    try:
        with memoryview(bytearray(min(PROBE, folder.size))) as probe:
            folder.read(probe, 0)
    except BaseException:
        folder.close()
        raise
    return folder


class Cookie:
    """The session's, as the command has it; asked for once for all threads that were told that it ended."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._asking = threading.Lock()
        self._serial = 0
        self._text = ""

    def get(self, ended: int = 0) -> tuple[int, str]:
        """Return the cookie and its number: another one than that with the number `ended`.

        Raises FailedError where the command has none.
        """
        with self._asking:
            if self._serial == ended:
                try:
                    self._text = str(self._channel.want("cookie", ended=ended)["cookie"])
                except (RefusedError, ChannelClosedError) as error:
                    raise FailedError("refused", again=isinstance(error, RefusedError) and error.again) from None
                self._serial += 1
            return self._serial, self._text


@dataclass
class _Tries:
    """What came of one read so far."""

    began: float = field(default_factory=time.monotonic)
    failed: int = 0
    torn: int = 0


class Folder:
    """A file of the datastore browser, as long as it has to be."""

    def __init__(self, channel: Channel, server: Server, ca_file: str, size: int, patience: float) -> None:
        self.size = size
        self._channel = channel
        self._server = server
        self._context = trust(ca_file)
        self._patience = patience
        self._cookie = Cookie(channel)
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        self._guard = threading.Lock()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._closed = threading.Event()
        self._noted = -NOTE_SECONDS
        self._lost: FailedError | None = None

    def close(self) -> None:
        """End what waits, and all connections."""
        self._closed.set()
        with self._guard:
            connections, self._idle = list(self._open), []
            self._open.clear()
        for connection in connections:
            connection.close()

    def read(self, buffer: memoryview, offset: int) -> None:
        """Fill the buffer from `offset` on."""
        tries = _Tries()
        done = 0
        with self._places:
            # Who reads tries again what failed: after all this patience once more would not help.
            if self._lost is not None:
                raise self._lost
            while done < len(buffer):
                try:
                    done += self._part(buffer[done:], offset + done)
                    tries = _Tries()
                except FailedError as error:
                    self._again(error, tries)

    def _again(self, error: FailedError, tries: _Tries) -> None:
        """Wait before the next try; raise the error where there is none."""
        if self._closed.is_set():
            raise FailedError("closed") from None
        tries.torn += error.code not in PATIENT
        waited = time.monotonic() - tries.began
        if not error.again or tries.torn >= TRIES or waited >= self._patience:
            self._lost = error
            error.facts["waited"] = int(waited)
            raise error
        if error.code in PATIENT:
            self._note(error)
        # Not for longer than it may take, so that the last try is at the end.
        pause = min(PAUSES[min(tries.failed, len(PAUSES) - 1)], max(self._patience - waited, 0.0))
        tries.failed += 1
        self._closed.wait(pause)

    def _note(self, error: FailedError) -> None:
        with self._guard:
            now = time.monotonic()
            if now - self._noted < NOTE_SECONDS:
                return
            self._noted = now
        self._channel.note(error.code, **error.facts)

    def _part(self, buffer: memoryview, offset: int) -> int:
        """Read once; return how many bytes came. A session that ended costs one more try, at once."""
        answer, connection = self._logged_in(offset, len(buffer))
        try:
            length = self._judge(answer, offset, len(buffer))
            connection.fill(buffer[:length], answer)
        except BaseException as error:
            self._drop(connection)
            if isinstance(error, FailedError) and error.code in OUT_OF_STEP and connection.answers > 1:
                error.again = True
            raise
        if answer.lasting and connection.clean():
            self._keep(connection)
        else:
            self._drop(connection)
        return length

    def _logged_in(self, offset: int, length: int) -> tuple[Answer, Connection]:
        """Ask with a cookie that the server takes; where it takes none, the answer says so."""
        serial, cookie = self._cookie.get()
        for _ in range(RENEWALS):
            answer, connection = self._asked(offset, length, cookie)
            before = cookie
            if answer.status == 401:
                serial, cookie = self._cookie.get(serial)
            if cookie == before:
                break
            self._drop(connection)
        return answer, connection

    def _asked(self, offset: int, length: int, cookie: str) -> tuple[Answer, Connection]:
        """Ask on a connection that is free, or on a new one."""
        while True:
            connection = self._connection()
            kept = connection.answers > 0
            try:
                return connection.ask(offset, offset + length - 1, cookie), connection
            except FailedError as error:
                self._drop(connection)
                # One that was kept may have been closed from the other end, which says nothing of the server.
                if not kept or error.code != "torn" or self._closed.is_set():
                    raise

    def _connection(self) -> Connection:
        with self._guard:
            while self._idle:
                connection = self._idle.pop()
                if connection.clean():
                    return connection
                self._open.discard(connection)
                connection.close()
        connection = Connection(self._server, self._context)
        with self._guard:
            if not self._closed.is_set():
                self._open.add(connection)
                return connection
        connection.close()
        raise FailedError("closed")

    def _keep(self, connection: Connection) -> None:
        with self._guard:
            if connection in self._open:
                self._idle.append(connection)

    def _drop(self, connection: Connection) -> None:
        with self._guard:
            self._open.discard(connection)
        connection.close()

    def _judge(self, answer: Answer, offset: int, length: int) -> int:
        """Return how many bytes of what was asked for are in the answer. Raises FailedError for everything else."""
        if answer.status != 206:
            raise self._refusal(answer)
        encoding = answer.headers.get("content-encoding", "identity")
        if encoding.lower() != "identity":
            raise FailedError("encoded", status=206, encoding=encoding[:LONGEST_TEXT])
        part = answer.part()
        if part is None:
            raise FailedError("range", status=206, range=answer.headers.get("content-range", "")[:LONGEST_TEXT])
        first, last, size = part
        if size != self.size:
            raise FailedError("size", status=206, size=min(size, LAST))
        # A server may send less than it was asked for, as long as it says so.
        if first != offset or not first <= last < offset + length:
            raise FailedError("range", status=206, range=answer.headers["content-range"])
        said = answer.length
        if said is None and not answer.chunked:
            raise FailedError("length", status=206, wanted=last - first + 1)
        if said is not None and said != last - first + 1:
            raise FailedError("length", status=206, wanted=last - first + 1, length=min(said, LAST))
        return last - first + 1

    def _refusal(self, answer: Answer) -> FailedError:
        status = answer.status
        if status == 500:
            return FailedError("locked", again=True, status=status)
        if status in AWAY:
            return FailedError("unavailable", again=True, status=status)
        if 300 <= status < 400:
            # Its query may hold what is nobody else's business.
            where = answer.headers.get("location", "").partition("?")[0][:LONGEST_TEXT]
            return FailedError("redirect", status=status, location=where)
        if status == 416:
            size = answer.headers.get("content-range", "").rpartition("/")[2]
            known = int(size) if size.isascii() and size.isdigit() and len(size) < 19 else 0
            return FailedError("size", status=status, size=known)
        codes = {401: "login", 403: "forbidden", 404: "missing"}
        if status in codes:
            return FailedError(codes[status], status=status)
        if status == 200 and not answer.page:
            return FailedError("no-parts", status=status)
        return FailedError("page" if answer.page else "status", status=status)
