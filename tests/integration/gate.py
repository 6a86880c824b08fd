"""A way to stop a copy in its middle: a TCP proxy before vCenter that becomes very slow after a number of bytes.

It does not stop altogether, so that vSphere's API, which goes through it too, goes on being answered.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

CHUNK = 16 << 10
SLOW = 0.016
"""Seconds for a chunk on each connection when the gate is nearly closed: 1 MiB/s."""


class Gate:
    """Listens on `port`; `reached` is set when `limit` bytes came from vCenter, `open` lets the rest through."""

    def __init__(self, target: int, limit: int) -> None:
        self._target = target
        self._left = limit
        self._lock = threading.Lock()
        self.reached = threading.Event()
        self._open = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings that lead a command through the gate, with a small window."""
        return {
            "MIGRATEKIT_VCENTER__PORT": str(self.port),
            "MIGRATEKIT_REPLICATION__WINDOW": str(1 << 20),
            "MIGRATEKIT_REPLICATION__REQUEST_SIZE": str(256 << 10),
        }

    def wait(self, command: subprocess.Popen[str]) -> None:
        """Wait until the copy is in its middle; a command that ended before it got there says why."""
        deadline = time.monotonic() + 60
        while not self.reached.wait(0.1):
            if command.poll() is not None or time.monotonic() > deadline:
                command.kill()
                raise AssertionError(f"the copy did not get as far as the gate: {command.communicate(timeout=60)[1]}")

    def open(self) -> None:
        """Let everything through at full speed."""
        self._open.set()

    def close(self) -> None:
        """Take no more connections."""
        self._open.set()
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, gated: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK):
                if gated:
                    self._pass(len(chunk))
                target.sendall(chunk)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pass(self, length: int) -> None:
        with self._lock:
            self._left -= length
            closed = self._left < 0
        if closed:
            self.reached.set()
            self._open.wait(SLOW)


@contextmanager
def gate(target: int, limit: int) -> Iterator[Gate]:
    """Run a gate as long as the block runs."""
    made = Gate(target, limit)
    try:
        yield made
    finally:
        made.close()
