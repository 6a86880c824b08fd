"""`python -m tests.bench.delay PORT TARGET MILLISECONDS COUNT`: a TCP proxy that is half a round trip away, each way.

In a process of its own, so that it takes no time of what is measured. The bytes from the target go into the file COUNT.
"""

from __future__ import annotations

import mmap
import selectors
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.measure import server
from tests.lab.parts.process import choose_port

WINDOW = 16 << 20
"""Bytes under way in one direction of a connection."""
READ = 1 << 18


@dataclass
class Way:
    """One direction of a connection."""

    source: socket.socket
    target: socket.socket
    counted: bool
    queue: deque[tuple[float, memoryview]] = field(default_factory=deque)
    under_way: int = 0
    ended: bool = False


class Proxy:
    """All connections, in one thread."""

    def __init__(self, port: int, target: int, delay: float, count: mmap.mmap) -> None:
        self._target, self._delay, self._count, self._total = target, delay, count, 0
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._ways: list[Way] = []

    def run(self) -> None:
        while True:
            self._watch()
            now = time.monotonic()
            due = min((way.queue[0][0] for way in self._ways if way.queue), default=now + 1)
            for key, _ in self._selector.select(max(due - now, 0)):
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    for way in key.data:
                        self._take(way)
            for way in list(self._ways):
                self._give(way)

    def _watch(self) -> None:
        """Look at sources that have room; at targets that are full by trying again."""
        wanted = {way.source: [way] for way in self._ways if not way.ended and way.under_way < WINDOW}
        known = {key.fileobj for key in self._selector.get_map().values()} - {self._listener}
        for end in known - wanted.keys():
            self._selector.unregister(end)
        for end in wanted.keys() - known:
            self._selector.register(end, selectors.EVENT_READ, wanted[end])

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        far = socket.create_connection(("127.0.0.1", self._target))
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            end.setblocking(False)
        self._ways += [Way(near, far, False), Way(far, near, True)]

    def _take(self, way: Way) -> None:
        with suppress(BlockingIOError):
            try:
                data = way.source.recv(READ)
            except ConnectionError:
                data = b""
            if way.counted:
                self._total += len(data)
                struct.pack_into("<Q", self._count, 0, self._total)
            way.ended = not data
            way.under_way += len(data)
            way.queue.append((time.monotonic() + self._delay, memoryview(data)))

    def _give(self, way: Way) -> None:
        while way.queue and way.queue[0][0] <= time.monotonic():
            _, data = way.queue[0]
            try:
                if not data:
                    way.target.shutdown(socket.SHUT_WR)
                sent = way.target.send(data) if data else 0
            except BlockingIOError:
                # Whoever does not take it is asked again in a moment.
                way.queue[0] = (time.monotonic() + 0.0002, data)
                return
            except OSError:
                sent, way.ended = len(data), True
            way.under_way -= sent
            if sent < len(data):
                way.queue[0] = (way.queue[0][0], data[sent:])
            else:
                way.queue.popleft()
        if way.ended and not way.queue:
            self._ways.remove(way)
            if not any(way.source in (other.source, other.target) for other in self._ways):
                way.source.close()
                way.target.close()


@dataclass(frozen=True)
class Distance:
    """A port that is as far away as was asked for."""

    port: int
    _count: mmap.mmap

    @property
    def received(self) -> int:
        """Return the bytes that came from the target so far."""
        return int(struct.unpack_from("<Q", self._count)[0])


@contextmanager
def away(folder: Path, target: int, round_trip: float) -> Iterator[Distance]:
    """Have a port of this host be answered after so many milliseconds, by what listens on `target`."""
    port, file = choose_port(None), folder / "count"
    file.write_bytes(bytes(8))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as count:
        words = (str(port), str(target), str(round_trip), str(file))
        with server(sys.executable, "-m", "tests.bench.delay", *words, port=port):
            yield Distance(port, count)


def main(port: str, target: str, round_trip: str, file: str) -> None:
    """Run until it is ended."""
    with Path(file).open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as count:
        Proxy(int(port), int(target), float(round_trip) / 2000, count).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
