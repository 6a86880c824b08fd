"""The worker of a copy: one loop over the connections to both sides.

A piece is read on a source connection and written, or zeroed, on a target connection. One thread does it all, and has
as much on its way as the target's latency asks for. Where nothing has to be waited for, carriers do the work
(engine.carrier), with connections that the loop lends them: it lands what it has on its way then, and watches, and goes
on itself at any trouble.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import nbd

from migratekit_core.engine import zeros
from migratekit_core.engine.buffers import Buffers
from migratekit_core.engine.carrier import Carrier
from migratekit_core.engine.endpoint import Connection, Covered, Poller
from migratekit_core.engine.ledger import READ, WRITTEN, Flight, Ledger
from migratekit_core.engine.plan import BLOCK, Action, Shape
from migratekit_core.engine.side import Side
from migratekit_core.engine.sizing import CONNECTIONS

POLL_SECONDS = 0.1
IDLE_SECONDS = 0.002
"""How long to wait with nothing on its way: bandwidth or a pause, which no connection tells of, is waited for then."""
MEND_SECONDS = 0.05
"""How often connections are looked after, and for how long a piece rests that found none."""
WATCH_SECONDS = 0.005
"""How often carriers are looked after: in some fifty ms they write what may be unsafe (ledger.UNSAFE_BYTES)."""
RESERVE_SECONDS = 1.0
"""How long the loop leaves connections to carriers that cannot begin yet: a server may never give as many as wanted."""


class Wish(NamedTuple):
    """How many carriers are wanted, with how many connections each to the target, and pieces on their way on them."""

    carriers: int
    connections: int = 1
    most: int = 1


NONE = Wish(0)


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
        self._buffers = Buffers(shape.request)
        self._zeros = memoryview(bytes(2 * BLOCK if shape.can_zero else shape.request))
        self._mended = 0.0
        self._carriers: list[Carrier] = []
        self._wish = NONE
        self._reserved_until = 0.0

    @property
    def carriers(self) -> int:
        """Return how many carriers do the work now; none: the loop does it."""
        return len(self._carriers)

    @property
    def awaited(self) -> bool:
        """Return whether carriers are wanted, and have not begun."""
        return bool(self._wish.carriers and not self._carriers)

    def want_carriers(self, wish: Wish) -> None:
        """Have carriers do the work as soon as there are connections for them; none: as soon as they land."""
        if not wish.carriers:
            self._wish = wish
            self.target.reserve(0)
            self._recall()
        elif not self._carriers:
            self._mended = 0.0
            if wish == self._wish:
                return
            self._wish = wish
            self.source.widen(wish.carriers)
            # Those of now remain here: what is on its way on them lands while carriers begin, and one is to flush on.
            self.target.widen(wish.carriers * wish.connections + CONNECTIONS)
            self.target.reserve(wish.carriers * wish.connections)
            self._reserved_until = time.monotonic() + RESERVE_SECONDS
        elif wish.most != self._wish.most:
            # The target turned out to be far, or not to be.
            self._recall()

    def work(self, until: float, look: Callable[[float], None]) -> None:
        """Start what can be started, wait for something to happen, deal with it, and so on.

        Ends when there is nothing left to do, or at `until`, in seconds of the monotonic clock: the caller looks after
        whatever need not be looked after at every turn. `look` is told the time whenever something was answered.
        """
        if self._carriers:
            self._watch(until, look)
            return
        ledger, source, target, drive = self._ledger, self.source, self.target, self._poller.drive
        now = time.monotonic()
        if now - self._mended > MEND_SECONDS:
            self._mended = now
            source.mend(now)
            target.mend(now)
            if now > self._reserved_until:
                target.reserve(0)
        changed = room = True
        while True:
            if changed:
                self._refresh()
                everyone = source.connections + target.connections
            # A piece that is read and cannot be written would only be read again.
            if room and target.ready:
                if not self._may_hand_out():
                    self._fill(now)
                elif self._hand_out():
                    return
            timeout = min(POLL_SECONDS, max(until - now, 0.0)) if ledger.flying else IDLE_SECONDS
            happened, changed = drive(everyone, timeout)
            # Most turns only move a part of a request: there is no room for another one then.
            room = not happened or bool(self._answered)
            if self._answered:
                changed |= self._take()
            now = time.monotonic()
            # With nothing on its way, what happened is the answer to a flush.
            if room or not ledger.flying:
                look(now)
            if now >= until or ledger.over:
                return

    def drive(self, timeout: float) -> None:
        """Let what is on its way to the target go on, and wait for it for at most `timeout` seconds."""
        self._poller.drive(self.target.kept(), timeout)

    def to_flush_on(self) -> Connection | None:
        """Return a connection to the target, opened again if it broke; None as long as there is none."""
        if not self._carriers:
            self.target.mend(time.monotonic())
        if not self.target.ready:
            self.drive(POLL_SECONDS)
            self.target.refresh()
        return self.target.pick()

    def close(self) -> None:
        """Take leave of the servers; those that do not answer are left."""
        self._recall()
        self._take_over()
        for connection in self.source.connections + self.target.connections:
            connection.close()

    def _refresh(self) -> None:
        self.source.refresh()
        self.target.refresh()

    def _may_hand_out(self) -> bool:
        """Return whether carriers are wanted and have all they need, once what is on its way to us has come."""
        count, connections, _ = self._wish
        return 0 < count <= len(self.source.ready) and count * connections < len(self.target.ready)

    def _hand_out(self) -> bool:
        count, connections, most = self._wish
        # One may have broken in this very turn, and a flush may be under way on one.
        self._refresh()
        idle = len(self.source.idle()) >= count and len(self.target.idle()) >= count * connections
        if not idle or not self._may_hand_out():
            return False
        sources, targets = self.source.lend(count), self.target.lend(count * connections)
        for connection in sources + targets:
            self._poller.forget(connection)
        self._carriers = [
            Carrier(self._shape, self._ledger, source, targets[number::count], most, (number, count))
            for number, source in enumerate(sources)
        ]
        return True

    def _watch(self, until: float, look: Callable[[float], None]) -> None:
        """Let the carriers work until `until`, or have them land at any trouble, and take over."""
        while True:
            # What was on its way when they began lands meanwhile.
            ours = self.source.kept() + self.target.kept()
            self._poller.drive(ours, min(WATCH_SECONDS, max(until - time.monotonic(), 0.0)))
            self._take()
            # Asked before the connections are, so that whoever looks hears first of the one that ended it.
            ended = [carrier.ended() for carrier in self._carriers]
            self._refresh()
            now = time.monotonic()
            look(now)
            if all(ended):
                self._take_over()
                return
            if any(ended) or self.source.trouble() or self.target.trouble():
                self._recall()
            if now >= until or self._ledger.over:
                return

    def _recall(self) -> None:
        for carrier in self._carriers:
            carrier.recall()

    def _take_over(self) -> None:
        """Go on without the carriers, which have been recalled."""
        failures = [carrier.join() for carrier in self._carriers]
        self._carriers, self._wish = [], NONE
        self.source.take_back()
        self.target.take_back()
        self._ledger.measure_again()
        for failure in failures:
            if failure is not None:
                raise failure

    def _fill(self, now: float) -> None:
        while (flight := self._ledger.take(now)) is not None:
            reading = flight.piece.action is Action.COPY
            connection = (self.source if reading else self.target).pick()
            if connection is None:
                self._ledger.put_back(flight, MEND_SECONDS)
                return
            flight.sent = now
            if reading:
                self._send_read(flight, connection)
            else:
                self._ledger.count(0, flight.piece.length)
                self._send_zero(flight, connection, flight.piece.offset, flight.piece.length)

    def _send_read(self, flight: Flight, connection: Connection) -> None:
        offset, length = flight.piece.offset, flight.piece.length
        flight.lent = self._buffers.take(length)
        buffer = flight.buffer = flight.lent[:length]
        # What the disk does not have, but the target's block size wants, is zero.
        present = self._shape.present(flight.piece)
        if present < length:
            buffer[present:] = bytes(length - present)
            buffer = buffer[:present]
        try:
            covered = flight.covered = Covered()
            connection.handle.aio_pread_structured(buffer, offset, covered.chunk, self._sent(flight, connection, True))
        except nbd.Error as error:
            self._not_sent(flight, connection, True, error)

    def _send_write(self, flight: Flight, connection: Connection, data: memoryview, offset: int) -> None:
        try:
            connection.handle.aio_pwrite(data, offset, self._sent(flight, connection, False))
        except nbd.Error as error:
            self._not_sent(flight, connection, False, error)

    def _send_zero(self, flight: Flight, connection: Connection, offset: int, length: int) -> None:
        for begin, size, zero in self._shape.cuts(offset, length):
            if not zero:
                self._send_write(flight, connection, self._zeros[:size], begin)
                continue
            try:
                connection.handle.aio_zero(size, begin, self._sent(flight, connection, False))
            except nbd.Error as error:
                self._not_sent(flight, connection, False, error)

    def _sent(self, flight: Flight, connection: Connection, reading: bool) -> Callable[[Any], int]:
        """Count a request as sent; return what libnbd is to call when it has been answered."""
        connection.in_flight += 1
        flight.left += 1
        answer = self._answered.append

        def completed(error: Any) -> int:
            answer((flight, connection, error.value, reading))
            return 1

        return completed

    def _not_sent(self, flight: Flight, connection: Connection, reading: bool, error: nbd.Error) -> None:
        # libnbd will not call back. The connection may still look usable, and being idle it would be picked again.
        self._answered.append((flight, connection, error.errnum or errno.ENOTCONN, reading))
        self._refresh()

    def _write(self, flight: Flight) -> None:
        """Write what was read: data as data, long runs of zeros as zero requests."""
        connection = self.target.pick()
        if connection is None:
            flight.error = errno.ENOTCONN
            self._end(flight)
            return
        assert flight.buffer is not None, "a piece is written after it was read"
        buffer, base = flight.buffer, flight.piece.offset
        self._ledger.was_read(flight)
        now = time.monotonic()
        flight.reading, flight.sent = now - flight.sent, now
        written = zeroed = 0
        for low, high, zero in zeros.runs(buffer):
            if zero:
                zeroed += high - low
                self._send_zero(flight, connection, base + low, high - low)
            else:
                written += high - low
                self._send_write(flight, connection, buffer[low:high], base + low)
        self._ledger.count(written, zeroed)

    def _take(self) -> bool:
        """Deal with the requests that have been answered; return whether one had an error."""
        answered, trouble = self._answered, False
        while answered:
            flight, connection, error, reading = answered.popleft()
            connection.in_flight -= 1
            flight.left -= 1
            if error:
                error = connection.answered(error)
            elif reading and flight.covered is not None and flight.covered.bytes != self._shape.present(flight.piece):
                # An answer that lacks a part would leave in the buffer what was there before.
                error = errno.EPROTO
            if error:
                trouble = True
                if not flight.error:
                    flight.error, flight.stage = error, READ if reading else WRITTEN
            if flight.left:
                continue
            if reading and not flight.error:
                self._write(flight)
            else:
                self._end(flight)
        return trouble

    def _end(self, flight: Flight) -> None:
        if flight.lent is not None:
            self._buffers.give(flight.lent)
            flight.lent = flight.buffer = None
        if flight.error:
            self._ledger.failed(flight)
        else:
            self._ledger.complete(flight)
