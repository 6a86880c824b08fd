"""The worker of a copy: one loop over the connections to both sides.

A piece is read on a source connection and written, or zeroed, on a target connection. One thread does it all: a second
one was measured, and gained less from another core than it lost to Python's lock.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import nbd

from migratekit_core.engine import zeros
from migratekit_core.engine.endpoint import Connection, Poller
from migratekit_core.engine.ledger import Flight, Ledger
from migratekit_core.engine.plan import Action
from migratekit_core.engine.side import Side

POLL_SECONDS = 0.1
MEND_SECONDS = 0.05
"""How often connections are looked after."""


@dataclass(frozen=True)
class Shape:
    """What is the same for all requests; sizes in bytes."""

    disk: str
    size: int
    request: int
    can_zero: bool


class Worker:
    """Moves the bytes of a copy."""

    def __init__(self, shape: Shape, ledger: Ledger, source: Side, target: Side) -> None:
        self._shape = shape
        self._ledger = ledger
        self.source = source
        self.target = target
        self._poller = Poller()
        self._answered: deque[tuple[Flight, Connection, int, bool]] = deque()
        """(flight, its connection, error, whether it was the read) of requests that have been answered."""
        self._buffers: list[bytearray] = []
        self._zeros = memoryview(b"" if shape.can_zero else bytes(shape.request))
        self._mended = 0.0

    def turn(self) -> None:
        """Start what can be started, wait for something to happen, and deal with it."""
        now = time.monotonic()
        if now - self._mended > MEND_SECONDS:
            self._mended = now
            self.source.mend(now)
            self.target.mend(now)
        # A piece that is read and cannot be written would only be read again.
        started = self.target.pick() is not None and self._fill(now)
        # Nothing on its way: what is waited for then (bandwidth, a pause) is no event of a connection.
        busy = started or any(connection.in_flight for connection in self.target.connections + self.source.connections)
        self._poller.drive(self.source.connections, self.target.connections, POLL_SECONDS if busy else 0.002)
        self._take()

    def to_flush_on(self) -> Connection | None:
        """Return a connection to the target, opened again if it broke; None as long as there is none."""
        self.target.mend(time.monotonic())
        if self.target.pick() is None:
            self._poller.drive(self.target.connections, (), POLL_SECONDS)
        return self.target.pick()

    def close(self) -> None:
        """Take leave of the servers; those that do not answer are left."""
        for connection in self.source.connections + self.target.connections:
            connection.close()

    def _fill(self, now: float) -> bool:
        started = False
        while (flight := self._ledger.take(now)) is not None:
            side = self.source if flight.piece.action is Action.COPY else self.target
            connection = side.pick()
            if connection is None:
                self._ledger.put_back(flight, MEND_SECONDS)
                return started
            flight.sent = now
            self._start(flight, connection)
            started = True
        return started

    def _start(self, flight: Flight, connection: Connection) -> None:
        piece = flight.piece
        if piece.action is Action.ZERO:
            self._ledger.count(0, piece.length)
            self._send_zero(flight, connection, piece.offset, piece.length)
            return
        whole = self._buffers.pop() if self._buffers else bytearray(self._shape.request)
        buffer = flight.buffer = memoryview(whole)[: piece.length]
        # What the disk does not have, but the target's block size wants, is zero.
        present = min(piece.length, self._shape.size - piece.offset)
        if present < piece.length:
            buffer[present:] = bytes(piece.length - present)
        handle = connection.handle
        self._send(
            flight, connection, True, lambda done: handle.aio_pread(buffer[:present], piece.offset, completion=done)
        )

    def _send(self, flight: Flight, connection: Connection, reading: bool, request: Callable[[Any], Any]) -> None:
        connection.in_flight += 1
        flight.left += 1
        answered = self._answered

        def completed(error: Any) -> int:
            answered.append((flight, connection, error.value, reading))
            return 1

        try:
            request(completed)
        except nbd.Error as error:
            # Not sent, so libnbd will not call back.
            answered.append((flight, connection, error.errnum or errno.ENOTCONN, reading))

    def _send_zero(self, flight: Flight, connection: Connection, offset: int, length: int) -> None:
        if self._shape.can_zero:
            handle = connection.handle
            self._send(flight, connection, False, lambda done: handle.aio_zero(length, offset, completion=done))
            return
        for begin in range(offset, offset + length, self._shape.request):
            size = min(self._shape.request, offset + length - begin)
            self._send_write(flight, connection, self._zeros[:size], begin)

    def _send_write(self, flight: Flight, connection: Connection, data: memoryview, offset: int) -> None:
        handle = connection.handle
        self._send(flight, connection, False, lambda done: handle.aio_pwrite(data, offset, completion=done))

    def _write(self, flight: Flight) -> None:
        """Write what was read: data as data, long runs of zeros as zero requests."""
        connection = self.target.pick()
        if connection is None:
            flight.error = errno.ENOTCONN
            self._end(flight)
            return
        assert flight.buffer is not None, "a piece is written after it was read"
        buffer, base = flight.buffer, flight.piece.offset
        flight.sent = time.monotonic()
        written = zeroed = 0
        for low, high, zero in zeros.runs(buffer):
            if zero:
                zeroed += high - low
                self._send_zero(flight, connection, base + low, high - low)
            else:
                written += high - low
                self._send_write(flight, connection, buffer[low:high], base + low)
        self._ledger.count(written, zeroed)

    def _take(self) -> None:
        """Deal with the requests that have been answered."""
        while self._answered:
            flight, connection, error, reading = self._answered.popleft()
            connection.in_flight -= 1
            flight.left -= 1
            if error and not flight.error:
                flight.error, flight.stage = error, "read from the source" if reading else "written to the target"
            if flight.left:
                continue
            if reading and not flight.error:
                self._write(flight)
            else:
                self._end(flight)

    def _end(self, flight: Flight) -> None:
        if flight.buffer is not None:
            self._buffers.append(flight.buffer.obj)  # type: ignore[arg-type]
            flight.buffer = None
        if flight.error:
            self._ledger.failed(flight)
        else:
            self._ledger.complete(flight)
