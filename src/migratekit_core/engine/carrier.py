"""A thread that carries pieces one by one, with a connection to each side that only it uses: read, write, the next.

Where answers come at once, many requests on their way gain nothing. libnbd's waiting calls move a whole piece without
coming back to Python or holding its lock, so two such threads use two cores, and a piece is still in the processor's
caches when it is written. A carrier knows nothing of trouble: at the first error it ends, and the loop that it works
for (engine.worker) takes its connections back.
"""

from __future__ import annotations

import _thread  # threading would cost every engine 5 ms at its start
import contextlib
import errno
import os
import time

import nbd

from migratekit_core.engine import zeros
from migratekit_core.engine.endpoint import Connection
from migratekit_core.engine.ledger import READ, WRITTEN, Flight, Ledger
from migratekit_core.engine.plan import Action, Shape

IDLE_SECONDS = 0.001
"""How long it waits where there is nothing to begin, for bandwidth or a flush."""
LANDING_SECONDS = 0.3
"""How long a carrier may go on with its piece when the copy ends; then its connections are cut."""


class Carrier:
    """Begins with its thread."""

    def __init__(self, shape: Shape, ledger: Ledger, source: Connection, target: Connection) -> None:
        self._shape = shape
        self._ledger = ledger
        self._source = source
        self._target = target
        self._zeros = memoryview(b"" if shape.can_zero else bytes(shape.request))
        # Of our own: libnbd does not answer while a call hangs, and a number that it has closed may be another's.
        self._descriptors = [os.dup(each.handle.aio_get_fd()) for each in (source, target)]
        self._recalled = False
        self._failure: BaseException | None = None
        self._running = _thread.allocate_lock()
        self._running.acquire()
        _thread.start_new_thread(self._run, ())

    def ended(self) -> bool:
        """Return whether it has ended: it was recalled, or a connection broke, or a request failed."""
        return not self._running.locked()

    def recall(self) -> None:
        """Have it end after the piece that it carries."""
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
            while not self._recalled:
                flight = self._ledger.take(time.monotonic())
                if flight is None:
                    time.sleep(IDLE_SECONDS)
                elif not self._carry(flight):
                    return
        except BaseException as error:
            self._failure = error
        finally:
            self._running.release()

    def _carry(self, flight: Flight) -> bool:
        """Have the piece on the target; return whether it is."""
        flight.sent = time.monotonic()
        try:
            if flight.piece.action is Action.COPY:
                self._copy(flight)
            else:
                flight.stage = WRITTEN
                self._ledger.count(0, flight.piece.length)
                self._write_zeros(flight.piece.offset, flight.piece.length)
        except nbd.Error as error:
            connection = self._source if flight.stage == READ else self._target
            connection.reason = error.string
            flight.error = errno.ENOTCONN if connection.broken() else error.errnum or errno.ENOTCONN
            self._ledger.failed(flight)
            return False
        self._ledger.complete(flight)
        return True

    def _copy(self, flight: Flight) -> None:
        piece, target = flight.piece, self._target.handle
        flight.stage = READ
        # What the disk does not have, but the target's block size wants, is zero.
        present = min(piece.length, self._shape.size - piece.offset)
        data = self._source.handle.pread(present, piece.offset)
        data += bytes(piece.length - present)
        now = time.monotonic()
        flight.stage, flight.reading, flight.sent = WRITTEN, now - flight.sent, now
        buffer = memoryview(data)
        written = zeroed = 0
        for low, high, zero in zeros.runs(buffer):
            if zero:
                zeroed += high - low
                self._write_zeros(piece.offset + low, high - low)
            else:
                written += high - low
                target.pwrite(buffer[low:high], piece.offset + low)
        self._ledger.count(written, zeroed)

    def _write_zeros(self, offset: int, length: int) -> None:
        if self._shape.can_zero:
            self._target.handle.zero(length, offset)
            return
        for begin, size in self._shape.parts(offset, length):
            self._target.handle.pwrite(self._zeros[:size], begin)
