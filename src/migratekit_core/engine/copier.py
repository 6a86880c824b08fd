"""The copy itself: one loop over all connections, pieces from the plan in, bytes out, a watermark behind them.

A piece is read on a source connection and written, or zeroed, on a target connection. The loop keeps `window` bytes in
flight, takes what completed, and starts what comes next. A piece whose connection broke is started again on another
one; a piece that the server refuses is tried again a few times and then ends the copy: no piece is ever skipped.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import nbd

from migratekit_core.engine import endpoint
from migratekit_core.engine.areas import normalise
from migratekit_core.engine.endpoint import Abilities, Connection
from migratekit_core.engine.job import Checkpoint, Done, Event, Job, Progress
from migratekit_core.engine.plan import Action, Piece, pieces
from migratekit_core.engine.rate import RateLimit
from migratekit_core.engine.watermark import Watermark
from migratekit_core.errors import OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.units import KIB, MIB

ZERO_GRANULE = 64 * KIB
"""Runs of zeros at least this long, within what was read, are sent as zero requests."""
CHECKPOINT_BYTES = 32 * MIB
"""How much may have been done since the last checkpoint: what a crash costs at most, besides the window."""
PROGRESS_SECONDS = 1.0
POLL_SECONDS = 0.1
REQUEST_RETRIES = 5
"""How often a piece that the server refused is tried again before the copy ends."""
RECONNECT_SECONDS = 90.0
"""How long an endpoint may be without any connection before the copy ends: a tunnel cut for a minute only delays it."""
RECONNECT_PAUSE = 0.5
LOST = frozenset({errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN, errno.ECONNABORTED})
"""Errors that mean the connection, not the piece."""


class Interrupted(Exception):
    """The copy was asked to stop, and has written its checkpoint."""


class Flight:
    """A piece on its way."""

    __slots__ = ("attempts", "buffer", "error", "left", "piece")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.buffer: memoryview | None = None
        self.attempts = 0
        self.left = 0
        """Requests of this piece that have not been answered yet."""
        self.error = 0


class Side:
    """One end of the copy: its connections, and when a broken one may be opened again."""

    def __init__(self, uri: str, name: str) -> None:
        self.uri = uri
        self.name = name
        self.connections: list[Connection] = []
        self.again = 0.0
        self.lost_since: float | None = None

    def connect(self) -> Connection:
        """Begin a connection that can be asked for extents, too."""
        return Connection(self.uri, extents=True)

    def pick(self) -> Connection | None:
        """Return the usable connection with the least on its way."""
        usable = [connection for connection in self.connections if connection.usable()]
        return min(usable, key=lambda connection: connection.in_flight, default=None)


class Copier:
    """Copies one disk. `emit` is told what happens; `stopping` is asked now and then."""

    def __init__(self, job: Job, emit: Callable[[Event], None], stopping: Callable[[], bool]) -> None:
        self._job = job
        self._emit = emit
        self._stopping = stopping
        self._source = Side(job.source, f"source of {job.disk}")
        self._target = Side(job.target, f"target of {job.disk}")
        self._ready: deque[tuple[Flight, Connection, int, bool]] = deque()
        """(flight, its connection, error, whether it was the read) of requests that have been answered."""
        self._again: deque[Flight] = deque()
        self._buffers: list[bytearray] = []
        self._flying = 0
        self._bytes_flying = 0
        self._done = self._read = self._written = self._zeroed = self._retries = 0
        self._watermark = Watermark(job.start)
        self._checkpoint = job.start
        self._flush: int | None = None
        """Watermark at which the flush that is under way was started."""

    def run(self, pairs: Iterator[tuple[int, int]]) -> Done:
        """Copy the areas of `pairs`, and return what was done.

        Raises OperationFailedError or PreconditionError for what cannot be copied, UnreachableError for a server that
        stays away, and Interrupted after a stop.
        """
        began = time.monotonic()
        job, source, target = self._job, self._open(self._source), self._open(self._target)
        endpoint.refuse_small(source.size, job.size, self._source.name)
        endpoint.refuse_small(target.size, job.size, self._target.name)
        if target.read_only:
            raise PreconditionError(
                f"{self._target.name} is read-only", "the export cannot be written", "export it again"
            )
        self._zero = target.zero
        self._can_flush = target.flush
        self._granule = max(source.minimum_block, target.minimum_block)
        self._request = min(job.request_size, source.maximum_block, target.maximum_block)
        self._widen(self._source, job.connections)
        # Without multi-conn a flush covers its own connection only, and what others wrote may be lost.
        self._widen(self._target, job.connections if target.multi_conn else 1)

        areas = normalise(pairs, job.start, job.size, self._granule)
        self._total = areas.total()
        self._end = target.size if job.full else job.size
        self._limit = RateLimit(job.rate, began)
        plan = pieces(areas, job.start, self._end, job.full, self._request, *self._extents(source, target))
        self._loop(plan, began)
        self._finish()
        self._emit(Checkpoint(self._end))
        return Done(
            total=self._total,
            read=self._read,
            written=self._written,
            zeroed=self._zeroed,
            seconds=time.monotonic() - began,
            retries=self._retries,
        )

    def _open(self, side: Side) -> Abilities:
        side.connections = [endpoint.open_one(side.connect, side.name)]
        return endpoint.abilities(side.connections[0])

    def _widen(self, side: Side, count: int) -> None:
        for _ in range(count - 1):
            try:
                side.connections.append(endpoint.open_one(side.connect, side.name))
            except UnreachableError:
                return  # a server that takes no more connections is used with those that it took

    def _extents(self, source: Abilities, target: Abilities) -> tuple[Any, Any]:
        def all_data(start: int, end: int) -> Iterator[tuple[int, int, bool]]:
            yield start, end, False

        ask_source = endpoint.extents_of(self._source.connect, self._source.name) if source.extents else all_data
        ask_target = endpoint.extents_of(self._target.connect, self._target.name) if target.extents else None
        # Only a full copy may rely on what the target says: there nothing but this copy writes to it.
        return ask_source, ask_target if self._job.full else None

    def _loop(self, plan: Iterator[Piece], began: float) -> None:
        waiting: Piece | None = next(plan, None)
        reported, reported_done = began, 0
        while waiting is not None or self._flying or self._again:
            now = time.monotonic()
            stopping = self._stopping()
            if stopping and not self._flying:
                self._finish()
                self._emit(Checkpoint(self._watermark.position))
                raise Interrupted
            if not stopping:
                waiting = self._fill(plan, waiting, now)
            pause = min(POLL_SECONDS, self._limit.delay(now) or POLL_SECONDS)
            endpoint.drive([*self._source.connections, *self._target.connections], pause)
            self._take()
            self._mend(now)
            self._maybe_checkpoint()
            if now - reported >= PROGRESS_SECONDS:
                self._emit(self._progress((self._done - reported_done) / (now - reported)))
                reported, reported_done = now, self._done

    def _progress(self, rate: float) -> Progress:
        return Progress(
            done=self._done,
            total=self._total,
            read=self._read,
            written=self._written,
            zeroed=self._zeroed,
            rate=rate,
            retries=self._retries,
        )

    def _fill(self, plan: Iterator[Piece], waiting: Piece | None, now: float) -> Piece | None:
        """Start pieces until the window is full; return the first one that was not started."""
        while self._again and self._start(self._again[0]):
            self._again.popleft()
        while waiting is not None and not self._again and not self._limit.delay(now):
            if waiting.action is Action.NOTHING:
                self._done += 0 if waiting.gap else waiting.length
                waiting = next(plan, None)
                continue
            cost = waiting.length if waiting.action is Action.COPY else 0
            if self._flying and self._bytes_flying + cost > self._job.window:
                break
            flight = Flight(waiting)
            if not self._start(flight):
                break
            self._watermark.begin(waiting.offset, waiting.offset + waiting.length)
            self._limit.spend(cost)
            waiting = next(plan, None)
        return waiting

    def _start(self, flight: Flight) -> bool:
        """Send the first request of a piece; return whether a connection could take it."""
        piece = flight.piece
        if piece.action is Action.ZERO:
            connection = self._target.pick()
            if connection is None:
                return False
            flight.left = 0
            self._send_zero(flight, connection, piece.offset, piece.length)
        else:
            connection = self._source.pick()
            if connection is None:
                return False
            flight.buffer = self._buffer(piece.length)
            # What the disk does not have, but the target's block size wants, is zero.
            present = min(piece.length, self._job.size - piece.offset)
            if present < piece.length:
                flight.buffer[present:] = bytes(piece.length - present)
            flight.left = 1
            self._send(
                flight,
                connection,
                True,
                lambda done: connection.handle.aio_pread(flight.buffer[:present], piece.offset, completion=done),  # type: ignore[index]
            )
            self._bytes_flying += piece.length
        self._flying += 1
        return True

    def _send(self, flight: Flight, connection: Connection, reading: bool, request: Callable[[Any], Any]) -> None:
        connection.in_flight += 1

        def completed(error: Any) -> int:
            self._ready.append((flight, connection, error.value, reading))
            return 1

        try:
            request(completed)
        except nbd.Error as error:
            # Not sent, so libnbd will not call back.
            self._ready.append((flight, connection, error.errnum or errno.ENOTCONN, reading))

    def _send_zero(self, flight: Flight, connection: Connection, offset: int, length: int) -> None:
        flight.left += 1
        self._zeroed += length
        if self._zero:
            self._send(
                flight, connection, False, lambda done: connection.handle.aio_zero(length, offset, completion=done)
            )
            return
        for begin in range(offset, offset + length, self._request):
            part = bytes(min(self._request, offset + length - begin))
            if begin > offset:
                flight.left += 1
            self._send(
                flight,
                connection,
                False,
                lambda done, part=part, begin=begin: connection.handle.aio_pwrite(part, begin, completion=done),  # type: ignore[misc]
            )

    def _write(self, flight: Flight) -> None:
        """Write what was read: data as data, long runs of zeros as zero requests."""
        connection = self._target.pick()
        if connection is None:
            self._retire(flight, errno.ENOTCONN)
            return
        assert flight.buffer is not None, "a piece is written after it was read"
        buffer, base = flight.buffer, flight.piece.offset
        for low, high, zero in zero_runs(buffer):
            if zero:
                self._send_zero(flight, connection, base + low, high - low)
                continue
            flight.left += 1
            self._written += high - low
            self._send(
                flight,
                connection,
                False,
                lambda done, low=low, high=high: connection.handle.aio_pwrite(  # type: ignore[misc]
                    buffer[low:high], base + low, completion=done
                ),
            )

    def _take(self) -> None:
        """Deal with the requests that have been answered."""
        while self._ready:
            flight, connection, error, reading = self._ready.popleft()
            connection.in_flight -= 1
            flight.left -= 1
            flight.error = flight.error or error
            if reading and not flight.error:
                self._read += flight.piece.length
                self._write(flight)
            elif flight.left == 0:
                self._retire(flight, flight.error)

    def _retire(self, flight: Flight, error: int) -> None:
        """End a piece, or put it back where it failed and may be tried again."""
        piece = flight.piece
        self._flying -= 1
        if flight.buffer is not None:
            self._bytes_flying -= piece.length
            self._buffers.append(flight.buffer.obj)  # type: ignore[arg-type]
            flight.buffer = None
        if not error:
            self._watermark.end(piece.offset)
            self._done += 0 if piece.gap else piece.length
            return
        flight.error = 0
        self._retries += 1
        if error not in LOST:
            flight.attempts += 1
            if error in (errno.ENOSPC, errno.EROFS, errno.EPERM) or flight.attempts > REQUEST_RETRIES:
                raise self._refused(piece, error)
        self._again.append(flight)

    def _refused(self, piece: Piece, error: int) -> OperationFailedError:
        where = f"{piece.length} bytes at offset {piece.offset} of {self._job.disk}"
        if error == errno.ENOSPC:
            return OperationFailedError(
                f"the target has no space for {where}", os.strerror(error), "free space on the OMA's storage, run again"
            )
        return OperationFailedError(
            f"{where} could not be copied",
            f"{os.strerror(error)} ({errno.errorcode.get(error, error)}), {REQUEST_RETRIES} retries",
            "look at the logs of the source reader and the exporter; the next run goes on from the last checkpoint",
        )

    def _mend(self, now: float) -> None:
        """Open broken connections again; give up on a side that has had none for too long."""
        for side in (self._source, self._target):
            whole = [connection for connection in side.connections if not connection.broken()]
            if len(whole) == len(side.connections):
                side.lost_since = None
                continue
            if any(connection.usable() for connection in whole):
                side.lost_since = None
            elif side.lost_since is None:
                side.lost_since = now
            elif now - side.lost_since > RECONNECT_SECONDS:
                raise endpoint.unreachable(side.name, f"all connections lost for {RECONNECT_SECONDS:.0f} s")
            if now < side.again:
                continue
            side.again = now + RECONNECT_PAUSE
            for index, connection in enumerate(side.connections):
                # Its last requests are still being taken off it.
                if connection.broken() and not connection.in_flight:
                    try:
                        side.connections[index] = side.connect()
                    except nbd.Error:
                        break

    def _buffer(self, length: int) -> memoryview:
        whole = self._buffers.pop() if self._buffers else bytearray(self._request)
        return memoryview(whole)[:length]

    def _maybe_checkpoint(self) -> None:
        position = self._watermark.position
        if self._flush is not None or position - self._checkpoint < CHECKPOINT_BYTES or not self._can_flush:
            return
        connection = self._target.pick()
        if connection is None:
            return
        self._flush = position

        def flushed(error: Any) -> int:
            if not error.value:
                self._checkpoint = position
                self._emit(Checkpoint(position))
            self._flush = None
            return 1

        try:
            connection.handle.aio_flush(completion=flushed)
        except nbd.Error:
            self._flush = None

    def _finish(self) -> None:
        """Flush the target: nothing before this returns may be called done."""
        if not self._can_flush:
            return
        last = ""
        for _ in range(REQUEST_RETRIES):
            try:
                endpoint.open_one(
                    lambda: self._target.pick() or self._target.connect(), self._target.name
                ).handle.flush()
                return
            except nbd.Error as error:
                last = str(error)
                if error.errnum == errno.ENOSPC:
                    break
        raise OperationFailedError(
            f"the target of {self._job.disk} could not be flushed", last, "check the OMA's storage, then run again"
        )


def zero_runs(buffer: memoryview) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, is zero) over the whole buffer, in steps of ZERO_GRANULE."""
    whole = nbd.Buffer.from_buffer(buffer)
    length = len(buffer)
    start, state = 0, None
    for low in range(0, length, ZERO_GRANULE):
        zero = whole.is_zero(low, min(ZERO_GRANULE, length - low))
        if state is not None and zero != state:
            yield start, low, state
            start = low
        state = zero
    if state is not None:
        yield start, length, state
