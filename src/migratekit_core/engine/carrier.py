"""A thread that carries pieces: it reads one, begins to write it, reads the next; with connections that only it uses.

Where the source answers at once, many reads on their way gain nothing. libnbd's waiting calls move a whole piece
without coming back to Python or holding its lock, so two such threads use two cores, and a piece is still in the
processor's caches when it is sent on. A near target gets one piece at a time from each, for the same reason; a far one
as many as the window allows. A carrier knows nothing of trouble: at the first error it lands what it has on its way and
ends, and the loop that it works for (engine.worker) takes its connections back.
"""

from __future__ import annotations

import _thread  # threading would cost every engine 5 ms at its start
import contextlib
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import nbd

from migratekit_core.engine import processors, zeros
from migratekit_core.engine.endpoint import Connection, Covered, Poller
from migratekit_core.engine.ledger import READ, WRITTEN, Flight, Ledger
from migratekit_core.engine.plan import BLOCK, Action, Shape

IDLE_SECONDS = 0.001
"""How long it waits where there is nothing to begin, for bandwidth or a flush."""
ANSWER_SECONDS = 0.005
"""How long it waits for an answer before it looks again whether there is something to begin."""
LANDING_SECONDS = 0.3
"""How long a carrier may go on with what it has on its way when the copy ends; then its connections are cut."""


class Carrier:
    """Begins with its thread; `most` is how many pieces it has on their way to the target at a time, `number` which of
    how many carriers it is."""

    def __init__(
        self,
        shape: Shape,
        ledger: Ledger,
        source: Connection,
        targets: tuple[Connection, ...],
        most: int,
        number: tuple[int, int],
    ) -> None:
        self._shape = shape
        self._ledger = ledger
        self._source = source
        self._targets = targets
        self._most = most
        self._number = number
        self._poller = Poller()
        self._zeros = memoryview(bytes(2 * BLOCK if shape.can_zero else shape.request))
        self._flying = 0
        self._answered: deque[tuple[Flight, Connection, int]] = deque()
        """(flight, its connection, error) of requests that have been answered."""
        # Of our own: libnbd does not answer while a call hangs, and a number that it has closed may be another's.
        self._descriptors = [os.dup(each.handle.aio_get_fd()) for each in (source, *targets)]
        self._recalled = False
        self._failure: BaseException | None = None
        self._running = _thread.allocate_lock()
        self._running.acquire()
        _thread.start_new_thread(self._run, ())

    def ended(self) -> bool:
        """Return whether it has ended: it was recalled, or a connection broke, or a request failed."""
        return not self._running.locked()

    def recall(self) -> None:
        """Have it end after what it has on its way."""
        self._recalled = True

    def join(self) -> BaseException | None:
        """Wait for the end of one that was recalled, and see to it. Return what ended it, if no request did."""
        if not self._running.acquire(timeout=LANDING_SECONDS):
            self._cut()
            self._running.acquire()
        self._running.release()
        for descriptor in self._descriptors:
            os.close(descriptor)
        return self._failure

    def _cut(self) -> None:
        import socket  # it would cost every engine 5 ms at its start

        for descriptor in self._descriptors:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as same:
                same.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        try:
            processors.keep_to(*self._number)
            while self._flying or not self._recalled:
                flight = self._next()
                if flight is not None:
                    self._carry(flight)
                    if self._flying:
                        self._land(0.0)
                elif self._flying:
                    self._land(ANSWER_SECONDS)
                else:
                    time.sleep(IDLE_SECONDS)
        except BaseException as error:
            self._failure = error
        finally:
            self._running.release()

    def _next(self) -> Flight | None:
        if self._recalled or self._flying >= self._most:
            return None
        return self._ledger.take(time.monotonic())

    def _carry(self, flight: Flight) -> None:
        """Read a piece, if it is to be read, and send it to the target."""
        piece = flight.piece
        flight.sent = time.monotonic()
        if piece.action is not Action.COPY:
            self._ledger.count(0, piece.length)
            self._write(flight, ((0, piece.length, True),), memoryview(b""))
            return
        # What the disk does not have, but the target's block size wants, is zero.
        present, covered = self._shape.present(piece), Covered()
        try:
            data = self._source.handle.pread_structured(present, piece.offset, covered.chunk)
            if covered.bytes != present:
                raise nbd.Error("the answer does not cover what was asked for", errno.EPROTO)
        except nbd.Error as error:
            self._refused(flight, READ, self._source, error)
            return
        self._ledger.was_read(flight)
        data += bytes(piece.length - present)
        now = time.monotonic()
        flight.reading, flight.sent = now - flight.sent, now
        buffer = memoryview(data)
        runs = list(zeros.runs(buffer))
        zeroed = sum(high - low for low, high, zero in runs if zero)
        self._ledger.count(piece.length - zeroed, zeroed)
        self._write(flight, runs, buffer)

    def _write(self, flight: Flight, runs: Iterable[tuple[int, int, bool]], buffer: memoryview) -> None:
        """Write all runs of a piece to the target; to a near one by calls that wait, which is less work."""
        # That with the least on its way.
        connection = min(self._targets, key=lambda each: each.in_flight)
        handle, requests = connection.handle, self._requests(flight.piece.offset, runs, buffer)
        if self._most > 1:
            self._send(flight, connection, requests, buffer)
            return
        try:
            for what, offset in requests:
                if isinstance(what, int):
                    handle.zero(what, offset)
                else:
                    handle.pwrite(what, offset)
        except nbd.Error as error:
            self._refused(flight, WRITTEN, connection, error)
        else:
            self._ledger.complete(flight)

    def _requests(
        self, base: int, runs: Iterable[tuple[int, int, bool]], buffer: memoryview
    ) -> Iterator[tuple[memoryview | int, int]]:
        """Yield what to write, or how many bytes to zero, and where."""
        for low, high, zero in runs:
            if not zero:
                yield buffer[low:high], base + low
            else:
                for begin, size, by_request in self._shape.cuts(base + low, high - low):
                    yield size if by_request else self._zeros[:size], begin

    def _refused(self, flight: Flight, stage: str, connection: Connection, error: nbd.Error) -> None:
        connection.reason = error.string
        flight.error = connection.answered(error.errnum or errno.ENOTCONN)
        flight.stage = stage
        self._recalled = True
        self._ledger.failed(flight)

    def _send(
        self,
        flight: Flight,
        connection: Connection,
        requests: Iterable[tuple[memoryview | int, int]],
        buffer: memoryview,
    ) -> None:
        """Begin to write a piece; the answers are for `_land`."""
        handle = connection.handle
        flight.buffer = buffer
        self._flying += 1
        # Until all have been sent, answers to the first ones are not the end of it.
        flight.left += 1
        for what, offset in requests:
            call = handle.aio_zero if isinstance(what, int) else handle.aio_pwrite
            self._ask(flight, connection, partial(call, what, offset))
        self._end_request(flight, 0)

    def _ask(self, flight: Flight, connection: Connection, request: Callable[[Callable[[Any], int]], object]) -> None:
        answer = self._answered.append

        def completed(error: Any) -> int:
            answer((flight, connection, error.value))
            return 1

        flight.left += 1
        connection.in_flight += 1
        try:
            request(completed)
        except nbd.Error as error:
            # libnbd will not call back.
            connection.reason = error.string
            answer((flight, connection, error.errnum or errno.ENOTCONN))

    def _land(self, timeout: float) -> None:
        """Wait at most `timeout` seconds for something to happen, and deal with what has been answered."""
        self._poller.drive(self._targets, timeout)
        while self._answered:
            flight, connection, error = self._answered.popleft()
            connection.in_flight -= 1
            self._end_request(flight, connection.answered(error))

    def _end_request(self, flight: Flight, error: int) -> None:
        flight.left -= 1
        if error and not flight.error:
            flight.error, flight.stage = error, WRITTEN
        if flight.left:
            return
        self._flying -= 1
        flight.buffer = None
        if flight.error:
            self._recalled = True
            self._ledger.failed(flight)
        else:
            self._ledger.complete(flight)
