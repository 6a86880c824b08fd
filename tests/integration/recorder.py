"""A TCP proxy on loopback that keeps everything that goes to a server, as it was sent."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Recorder:
    """Listens on `port`, passes everything on, and keeps what clients sent."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._sent: list[bytearray] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def sent(self) -> list[bytes]:
        """Return what was sent, a connection each."""
        with self._lock:
            return [bytes(each) for each in self._sent]

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                kept = bytearray()
                with self._lock:
                    self._sent.append(kept)
                threading.Thread(target=self._pump, args=(client, server, kept), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, None), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, kept: bytearray | None) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(65536):
                if kept is not None:
                    with self._lock:
                        kept += chunk
                target.sendall(chunk)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def recording(target: int) -> Iterator[Recorder]:
    """Run a recorder before a port as long as the block runs."""
    made = Recorder(target)
    try:
        yield made
    finally:
        made.close()
