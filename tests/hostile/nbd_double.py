"""An NBD server that does what real ones do seldom, or should never do: for what the engine has to withstand.

Numbers and layouts: the NBD protocol's doc/proto.md.
"""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

OPTION, OPTION_REPLY = 0x49484156454F5054, 0x3E889045565A9
GO, STRUCTURED, META = 7, 8, 10
ACK, INFO, META_CONTEXT, UNSUPPORTED = 1, 3, 4, 0x80000001
READ, WRITE, DISCONNECT, FLUSH, ZERO, STATUS = 0, 1, 2, 3, 6, 7
SHUTDOWN = 108
"""ESHUTDOWN as NBD has it, on whatever system."""
FLAGS = 1 | 1 << 2 | 1 << 6 | 1 << 8
"""has flags, flush, write zeroes, multi-conn."""


@dataclass
class Double:
    """A disk in memory, and how its server misbehaves."""

    disk: bytearray
    missing: int = 0
    """How many bytes of each read, at its end, the answer leaves out."""
    block: int = 1
    """What zero requests have to be multiples of, without the server having said so."""
    empty_extents: bool = False
    """Whether block status answers hold extents of no bytes."""
    shutdowns: int = 0
    """How many flushes are answered with ESHUTDOWN, the connection left open, as by a server that is told to end."""
    refused: list[tuple[int, int, int]] = field(default_factory=list)
    """(command, offset, length) of requests that were refused."""

    @contextmanager
    def serving(self, path: Path) -> Iterator[str]:
        """Serve on a unix socket; yield the URI."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(16)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            yield f"nbd+unix:///?socket={path}"
            listener.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            structured = self._negotiate(client)
            while True:
                _, _, kind, cookie, offset, length = struct.unpack(">IHHQQI", _exactly(client, 28))
                data = _exactly(client, length) if kind == WRITE else b""
                if kind == DISCONNECT:
                    return
                if kind == ZERO and (offset % self.block or length % self.block):
                    self.refused.append((kind, offset, length))
                    client.sendall(_simple(cookie, errno.EINVAL))
                elif kind == FLUSH and self.shutdowns:
                    self.shutdowns -= 1
                    client.sendall(_simple(cookie, SHUTDOWN))
                elif kind == READ and structured:
                    part = self.disk[offset : offset + length - self.missing]
                    client.sendall(_chunk(cookie, 1, struct.pack(">Q", offset) + part))
                elif kind == READ:
                    client.sendall(_simple(cookie, 0) + self.disk[offset : offset + length])
                elif kind == STATUS:
                    none = struct.pack(">II", 0, 0) if self.empty_extents else b""
                    client.sendall(_chunk(cookie, 5, struct.pack(">I", 1) + none + struct.pack(">II", length, 0)))
                else:
                    if kind in (WRITE, ZERO):
                        self.disk[offset : offset + length] = data or bytes(length)
                    client.sendall(_simple(cookie, 0))

    def _negotiate(self, client: socket.socket) -> bool:
        """Return whether replies are structured."""
        client.sendall(struct.pack(">8sQH", b"NBDMAGIC", OPTION, 3))
        _exactly(client, 4)
        structured = False
        while True:
            _, option, length = struct.unpack(">QII", _exactly(client, 16))
            _exactly(client, length)
            if option == STRUCTURED:
                structured = True
                client.sendall(_option(option, ACK))
            elif option == META:
                context = struct.pack(">I", 1) + b"base:allocation"
                client.sendall(_option(option, META_CONTEXT, context) + _option(option, ACK))
            elif option == GO:
                export = struct.pack(">HQH", 0, len(self.disk), FLAGS)
                client.sendall(_option(option, INFO, export) + _option(option, ACK))
                return structured
            else:
                client.sendall(_option(option, UNSUPPORTED))


def _exactly(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = client.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


def _simple(cookie: int, error: int) -> bytes:
    return struct.pack(">IIQ", 0x67446698, error, cookie)


def _chunk(cookie: int, kind: int, payload: bytes) -> bytes:
    return struct.pack(">IHHQI", 0x668E33EF, 1, kind, cookie, len(payload)) + payload


def _option(option: int, kind: int, data: bytes = b"") -> bytes:
    return struct.pack(">QIII", OPTION_REPLY, option, kind, len(data)) + data
