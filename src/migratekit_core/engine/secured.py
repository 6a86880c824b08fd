"""NBD inside a TLS connection that is ours from its first byte: straight to the OMA's one port, without a hop here.

NBD's own TLS begins after a greeting in the clear, so no proxy can tell by it which service is meant; libnbd knows no
other. Going through this host's end of the tunnel instead means that every byte is handed over, copied and sent once
more: a third of all the CPU that a copy took. This is the little that a copy asks of its target (write, zero, flush,
one simple reply each), behind the names that libnbd's handle has, so that a Connection holds either.

Numbers and layouts: the NBD protocol's doc/proto.md (NetworkBlockDevice/nbd).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbd

from migratekit_core.adapters.tunnel import KEEPALIVE, Gate, refusal
from migratekit_core.common.errors import MigrateKitError, UnreachableError
from migratekit_core.engine.endpoint import Answer

CONNECT_SECONDS = 20.0
RECORD = 16 * 1024
"""Most bytes of one TLS record (RFC 8446, 5.1)."""
RECEIVE = 64 * 1024
NOTHING = memoryview(b"")

OPTION, OPTION_REPLY = 0x49484156454F5054, 0x3E889045565A9
OPT_GO, REP_ACK, REP_ERROR = 7, 1, 0x80000000
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
REQUEST, SIMPLE_REPLY = struct.Struct(">IHHQQI"), struct.Struct(">IIQ")
REQUEST_MAGIC, REPLY_MAGIC = 0x25609513, 0x67446698
WRITE, DISCONNECT, FLUSH, WRITE_ZEROES = 1, 2, 3, 6


class SecuredHandle:
    """One connection to one export. Not for several threads, but for the one that makes the connection."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tls: ssl.SSLSocket | None = None
        self._state = "connecting"
        self._failure = ""
        self._errnum = errno.ENOTCONN
        self._waiting: deque[memoryview] = deque()
        self._asked: dict[int, Callable[[Any], int]] = {}
        self._cookie = 0
        self._answers = bytearray()
        self._read_to_write = False
        # The poller waits for this one until there is a connection.
        self._woken: int = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Names are looked up and handshakes done in blocking calls, which must not stop the other connections.
        self._connecting = threading.Thread(target=self._connect, daemon=True)
        self._connecting.start()

    def __del__(self) -> None:
        if self._tls is not None:
            self._tls.close()
        os.close(self._woken)

    def aio_get_fd(self) -> int:
        """Return the descriptor to wait for."""
        if self._tls is None or self._state != "ready":
            return self._woken
        descriptor: int = self._tls.fileno()
        return descriptor

    def aio_get_direction(self) -> int:
        """Return what to wait for: nbd.AIO_DIRECTION_READ, _WRITE or both; 0 after the end."""
        if self._state == "dead":
            return 0
        both = self._waiting and self._state == "ready"
        return int(nbd.AIO_DIRECTION_BOTH if both else nbd.AIO_DIRECTION_READ)

    def aio_is_ready(self) -> bool:
        """Return whether requests can be sent."""
        return self._state == "ready"

    def aio_is_processing(self) -> bool:
        """Return False: `aio_is_ready` says it all."""
        return False

    def aio_is_dead(self) -> bool:
        """Return whether the connection has ended."""
        return self._state == "dead"

    def aio_is_closed(self) -> bool:
        """Return False: `aio_is_dead` says it all."""
        return False

    def aio_pwrite(self, data: memoryview, offset: int, completion: Callable[[Any], int]) -> None:
        """Write `data`, which must stay as it is until it has been answered."""
        self._ask(WRITE, offset, len(data), completion, data)

    def aio_zero(self, length: int, offset: int, completion: Callable[[Any], int]) -> None:
        """Have `length` bytes read as zeros."""
        self._ask(WRITE_ZEROES, offset, length, completion)

    def aio_flush(self, completion: Callable[[Any], int]) -> None:
        """Make everything that was answered permanent."""
        self._ask(FLUSH, 0, 0, completion)

    def aio_disconnect(self) -> None:
        """Take leave."""
        self._ask(DISCONNECT, 0, 0, lambda answer: 1)

    def aio_notify_read(self) -> None:
        """Take what has arrived. Raises nbd.Error where the connection ends."""
        if self._state == "connecting":
            self._connecting.join()
            self._state = "dead" if self._failure else "ready"
            if self._failure:
                raise nbd.Error(self._failure, self._errnum)
            return
        assert self._tls is not None, "it is ready"
        try:
            while True:
                data = self._tls.recv(RECEIVE)
                if not data:
                    self._end("the OMA closed the connection")
                self._answers += data
                if not self._tls.pending():
                    break
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._end(str(error))
        self._take_answers()

    def aio_notify_write(self) -> None:
        """Send what has been waiting. Raises nbd.Error where the connection ends."""
        assert self._tls is not None, "only a connection that is ready waits to write"
        waiting = self._waiting
        try:
            while waiting:
                data = waiting[0]
                sent = self._tls.send(data)
                if sent == len(data):
                    waiting.popleft()
                else:
                    waiting[0] = data[sent:]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except OSError as error:
            self._end(str(error))

    def pwrite(self, data: memoryview, offset: int) -> None:
        """Write `data`, and wait until it has been taken. Raises nbd.Error."""
        self._ask_and_wait(WRITE, offset, len(data), data)

    def zero(self, length: int, offset: int) -> None:
        """Have `length` bytes read as zeros, and wait until they do. Raises nbd.Error."""
        self._ask_and_wait(WRITE_ZEROES, offset, length)

    def _ask_and_wait(self, kind: int, offset: int, length: int, data: memoryview = NOTHING) -> None:
        """Ask, with nothing else on its way: what waits in the kernel needs no turn of Python's until it goes on."""
        if self._state != "ready":
            raise nbd.Error(self._failure, errno.ENOTCONN)
        answers: list[int] = []

        def completed(answer: Any) -> int:
            answers.append(answer.value)
            return 1

        assert self._tls is not None, "it is ready"
        self._tls.setblocking(True)
        self._ask(kind, offset, length, completed, data)
        with contextlib.suppress(nbd.Error):
            # Whoever asked is told by the answer.
            while not answers:
                self.aio_notify_read()
        if self._state == "ready":
            self._tls.setblocking(False)
        if answers[0]:
            raise nbd.Error(self._failure or os.strerror(answers[0]), answers[0])

    def _ask(
        self, kind: int, offset: int, length: int, completion: Callable[[Any], int], data: memoryview = NOTHING
    ) -> None:
        if self._state != "ready":
            completion(Answer(errno.ENOTCONN))
            return
        self._cookie += 1
        self._asked[self._cookie] = completion
        header = REQUEST.pack(REQUEST_MAGIC, 0, kind, self._cookie, offset, length)
        # One record for the header and the beginning of the data: a record of its own would cost a packet.
        first = RECORD - len(header)
        idle = not self._waiting
        self._waiting.append(memoryview(header + data[:first]))
        if length and data[first:]:
            self._waiting.append(data[first:])
        if idle:
            with contextlib.suppress(nbd.Error):
                # Those that were asked have been told; the caller hears of this one the same way.
                self.aio_notify_write()

    def _take_answers(self) -> None:
        answers, size = self._answers, SIMPLE_REPLY.size
        whole = len(answers) // size * size
        for magic, error, cookie in SIMPLE_REPLY.iter_unpack(bytes(answers[:whole])):
            completion = self._asked.pop(cookie, None)
            if magic == REPLY_MAGIC and completion is not None:
                completion(Answer(error))
            else:
                self._end("the server's answer is no NBD")
        del answers[:whole]

    def _end(self, reason: str) -> None:
        """End the connection, tell everyone who waits, and raise nbd.Error."""
        self._state, self._failure = "dead", reason
        self._waiting.clear()
        asked, self._asked = self._asked, {}
        assert self._tls is not None, "there is a connection to end"
        self._tls.close()
        for completion in asked.values():
            completion(Answer(errno.ENOTCONN))
        raise nbd.Error(reason, errno.ENOTCONN)

    def _connect(self) -> None:
        try:
            self._tls = self._open()
        except MigrateKitError as error:
            self._failed(error)
        except OSError as error:
            self._failed(refusal.explained(error, f"{self._gate.host}:{self._gate.port}"))
        except (ValueError, struct.error) as error:
            self._failure, self._errnum = str(error) or type(error).__name__, errno.ENOENT
        os.eventfd_write(self._woken, 1)

    def _failed(self, error: MigrateKitError) -> None:
        self._failure = str(error)
        if not isinstance(error, UnreachableError):
            self._errnum = errno.EACCES

    def _open(self) -> ssl.SSLSocket:
        gate = self._gate
        revoked = Path(gate.crl_file) if gate.crl_file else None
        context = refusal.context(Path(gate.ca_file), Path(gate.cert_file), revoked)
        plain = socket.create_connection((gate.host, gate.port), CONNECT_SECONDS)
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for option, value in KEEPALIVE:
                plain.setsockopt(socket.IPPROTO_TCP, option, value)
            tls = context.wrap_socket(plain, server_hostname=gate.server_name)
        except BaseException:
            plain.close()
            raise
        try:
            _negotiate(tls, gate.export)
        except BaseException:
            tls.close()
            raise
        tls.setblocking(False)
        return tls


def _negotiate(tls: ssl.SSLSocket, export: str) -> None:
    """Choose the export. Raises OSError or ValueError where the server does not offer it."""
    greeting, option, flags = struct.unpack(">8sQH", _exactly(tls, 18))
    if greeting != b"NBDMAGIC" or option != OPTION or not flags & FIXED_NEWSTYLE:
        raise ValueError("no NBD server behind the tunnel")
    name = export.encode()
    data = struct.pack(f">I{len(name)}sH", len(name), name, 0)
    tls.sendall(struct.pack(">IQII", flags & (FIXED_NEWSTYLE | NO_ZEROES), OPTION, OPT_GO, len(data)) + data)
    while True:
        magic, _, kind, length = struct.unpack(">QIII", _exactly(tls, 20))
        text = _exactly(tls, length)
        if magic != OPTION_REPLY:
            raise ValueError("no NBD server behind the tunnel")
        if kind & REP_ERROR:
            raise ValueError(f"the export was refused: {text.decode(errors='replace') or hex(kind)}")
        if kind == REP_ACK:
            return


def _exactly(tls: ssl.SSLSocket, size: int) -> bytes:
    return refusal.exactly(tls, size, "the NBD server there, or what stands before it, ended it")
