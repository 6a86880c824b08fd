"""The copy itself: one loop over all connections, pieces from the plan in, bytes out, a watermark behind them.

A piece is read on a source connection and written, or zeroed, on a target connection. The loop keeps a window of bytes
in flight, takes what was answered, and starts what comes next. A piece whose connection broke is started again on
another one; a piece that a server refuses is tried again a few times and then ends the copy: no piece is ever skipped.
"""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import nbd

from migratekit_core.engine import endpoint, zeros
from migratekit_core.engine.areas import normalise
from migratekit_core.engine.endpoint import Abilities, Connection, Extent, Poller
from migratekit_core.engine.job import Checkpoint, Done, Event, Job, Progress
from migratekit_core.engine.plan import Action, Extents, Piece, pieces
from migratekit_core.engine.rate import RateLimit
from migratekit_core.engine.side import Side
from migratekit_core.engine.sizing import CONNECTIONS, WINDOW, size_for
from migratekit_core.engine.watermark import Watermark
from migratekit_core.errors import OperationFailedError, PreconditionError
from migratekit_core.units import MIB, round_up

CHECKPOINT_BYTES = 32 * MIB
"""How much may have been done since the last checkpoint: what a crash costs at most, besides the window."""
PROGRESS_SECONDS = 1.0
POLL_SECONDS = 0.1
REQUEST_RETRIES = 5
"""How often a piece that a server refused is tried again before the copy ends."""
RETRY_PAUSE = 0.1
"""Seconds before the first of them; each doubles it."""
STOP_SECONDS = 1.0
"""How long a stop waits for what is in flight, and half of it for the flush: a stop may take two seconds in all."""
LOST = frozenset({errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN, errno.ECONNABORTED})
"""Errors that mean the connection, not the piece."""
HOPELESS = frozenset({errno.ENOSPC, errno.EROFS, errno.EPERM, errno.EDQUOT})
"""Errors that the next try would get as well."""


class Interrupted(Exception):
    """The copy was asked to stop."""


class Flight:
    """A piece on its way."""

    __slots__ = ("attempts", "buffer", "error", "left", "not_before", "piece", "sent", "stage")

    def __init__(self, piece: Piece) -> None:
        self.piece = piece
        self.buffer: memoryview | None = None
        self.attempts = 0
        self.left = 0
        """Requests of this piece that have not been answered yet."""
        self.error = 0
        self.stage = ""
        """Whether the error came from the read or the write."""
        self.sent = 0.0
        self.not_before = 0.0


class Copier:
    """Copies one disk. `emit` is told what happens; `commands` yields changes, `stopping` says whether to stop."""

    def __init__(
        self,
        job: Job,
        emit: Callable[[Event], None],
        stopping: Callable[[], bool],
        commands: Callable[[], Iterator[dict[str, Any]]] = lambda: iter(()),
    ) -> None:
        self._job = job
        self._emit = emit
        self._stopping = stopping
        self._commands = commands
        self._source = Side(job.source, f"source of {job.disk}")
        self._target = Side(job.target, f"target of {job.disk}")
        self._poller = Poller()
        self._answered: deque[tuple[Flight, Connection, int, bool]] = deque()
        """(flight, its connection, error, whether it was the read) of requests that have been answered."""
        self._again: deque[Flight] = deque()
        self._buffers: list[bytearray] = []
        self._flying = 0
        self._bytes_flying = 0
        self._window = job.window or WINDOW
        self._latency = float("inf")
        self._total = self._done = self._read = self._written = self._zeroed = self._retries = 0
        self._watermark = Watermark(job.start)
        self._checkpoint = job.start
        self._flushing = False

    def run(self, pairs: Iterator[tuple[int, int]]) -> Done:
        """Copy the areas of `pairs`, and return what was done.

        Raises OperationFailedError or PreconditionError for what cannot be copied, UnreachableError for a server that
        stays away, and Interrupted after a stop.
        """
        began = time.monotonic()
        job, source, target = self._job, self._source.open(), self._target.open()
        endpoint.refuse_small(source.size, job.size, self._source.name)
        endpoint.refuse_small(target.size, job.size, self._target.name)
        if target.read_only:
            raise PreconditionError(f"{self._target.name} is read-only", "it cannot be written", "export it again")
        self._can_zero, self._can_flush = target.zero, target.flush
        self._multi_conn = target.multi_conn
        granule = max(source.minimum_block, target.minimum_block)
        # A request is whole blocks of both servers.
        largest = min(job.request_size, source.maximum_block, target.maximum_block)
        self._request = max(largest // granule * granule, granule)
        self._widen(job.connections or CONNECTIONS)

        needed = round_up(job.size, granule)
        endpoint.refuse_small(target.size, needed, f"{self._target.name} (in blocks of {granule} bytes)")
        areas = normalise(pairs, job.start, needed, granule)
        self._total = areas.total()
        self._limit = RateLimit(job.rate, began)
        stop = target.size // granule * granule if job.full else needed
        plan = pieces(areas, job.start, stop, job.full, self._request, *self._extents(source, target))
        self._loop(plan, began)
        self._flush()
        self._emit(Checkpoint(stop))
        return Done(
            total=self._total,
            read=self._read,
            written=self._written,
            zeroed=self._zeroed,
            seconds=time.monotonic() - began,
            retries=self._retries,
        )

    def _widen(self, count: int) -> None:
        self._source.widen(count)
        # Without multi-conn a flush covers its own connection only, and what others wrote may be lost.
        self._target.widen(count if self._multi_conn else 1)

    def _extents(self, source: Abilities, target: Abilities) -> tuple[Extents, Extents | None]:
        ask_target = endpoint.extents_of(self._target.connect, self._target.name) if target.extents else None
        # Only a full copy may rely on what the target says: there nothing but this copy writes to it.
        return self._source_extents(source), ask_target if self._job.full else None

    def _source_extents(self, source: Abilities) -> Extents:
        ask = endpoint.extents_of(self._source.connect, self._source.name) if source.extents else None
        size = self._job.size

        def extents(start: int, end: int) -> Iterator[Extent]:
            known = min(end, size)
            if ask is not None and start < known:
                yield from ask(start, known)
            elif start < known:
                yield start, known, False
            # What the disk does not have, but the target's block size wants, comes with the last block.
            if known < end:
                yield max(start, known), end, False

        return extents

    def _loop(self, plan: Iterator[Piece], began: float) -> None:
        waiting: Piece | None = next(plan, None)
        reported, reported_done = began, 0
        stopped_at: float | None = None
        while waiting is not None or self._flying or self._again:
            now = time.monotonic()
            self._obey()
            if stopped_at is None and self._stopping():
                stopped_at = now
            if stopped_at is None:
                waiting = self._fill(plan, waiting, now)
            elif not self._flying or now - stopped_at > STOP_SECONDS:
                self._last_checkpoint()
                raise Interrupted
            # Nothing in flight: whatever is waited for (credit, a pause, a connection) takes no event to end.
            pause = POLL_SECONDS if self._flying else RETRY_PAUSE / 10
            self._poller.drive([*self._source.connections, *self._target.connections], pause)
            self._take()
            self._source.mend(now)
            self._target.mend(now)
            self._maybe_checkpoint()
            if now - reported >= PROGRESS_SECONDS:
                self._report((self._done - reported_done) / (now - reported))
                reported, reported_done = now, self._done
        self._report(self._done / max(time.monotonic() - began, 1e-6))

    def _obey(self) -> None:
        for command in self._commands():
            if "rate" in command:
                self._limit = RateLimit(command["rate"], time.monotonic())

    def _report(self, rate: float) -> None:
        self._emit(
            Progress(
                done=self._done,
                total=self._total,
                read=self._read,
                written=self._written,
                zeroed=self._zeroed,
                rate=rate,
                window=self._window,
                connections=len(self._target.connections),
                retries=self._retries,
            )
        )

    def _fill(self, plan: Iterator[Piece], waiting: Piece | None, now: float) -> Piece | None:
        """Start pieces until the window is full; return the first one that was not started."""
        for _ in range(len(self._again)):
            flight = self._again.popleft()
            if flight.not_before > now or not self._start(flight, now):
                self._again.append(flight)
        while waiting is not None and not self._limit.delay(now):
            if waiting.action is Action.NOTHING:
                self._done += 0 if waiting.gap else waiting.length
                waiting = next(plan, None)
                continue
            cost = waiting.length if waiting.action is Action.COPY else 0
            if self._flying and self._bytes_flying + cost > self._window:
                break
            if not self._start(Flight(waiting), now):
                break
            self._watermark.begin(waiting.offset, waiting.offset + waiting.length)
            self._limit.spend(cost)
            waiting = next(plan, None)
        return waiting

    def _start(self, flight: Flight, now: float) -> bool:
        """Send the first request of a piece; return whether there was a connection to take it."""
        piece = flight.piece
        flight.sent, flight.error = now, 0
        connection = (self._source if piece.action is Action.COPY else self._target).pick()
        if connection is None:
            return False
        self._flying += 1
        if piece.action is Action.ZERO:
            self._send_zero(flight, connection, piece.offset, piece.length)
            return True
        self._bytes_flying += piece.length
        whole = self._buffers.pop() if self._buffers else bytearray(self._request)
        buffer = flight.buffer = memoryview(whole)[: piece.length]
        # What the disk does not have, but the target's block size wants, is zero.
        present = min(piece.length, self._job.size - piece.offset)
        buffer[present:] = bytes(piece.length - present)
        handle = connection.handle
        self._send(
            flight, connection, True, lambda done: handle.aio_pread(buffer[:present], piece.offset, completion=done)
        )
        return True

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
        handle = connection.handle
        self._zeroed += length
        if self._can_zero:
            self._send(flight, connection, False, lambda done: handle.aio_zero(length, offset, completion=done))
            return
        for begin in range(offset, offset + length, self._request):
            part = bytes(min(self._request, offset + length - begin))
            self._send_write(flight, connection, memoryview(part), begin)

    def _send_write(self, flight: Flight, connection: Connection, data: memoryview, offset: int) -> None:
        handle = connection.handle
        self._send(flight, connection, False, lambda done: handle.aio_pwrite(data, offset, completion=done))

    def _write(self, flight: Flight) -> None:
        """Write what was read: data as data, long runs of zeros as zero requests."""
        connection = self._target.pick()
        if connection is None:
            self._retire(flight, errno.ENOTCONN)
            return
        assert flight.buffer is not None, "a piece is written after it was read"
        buffer, base = flight.buffer, flight.piece.offset
        flight.sent = time.monotonic()
        for low, high, zero in zeros.runs(buffer):
            if zero:
                self._send_zero(flight, connection, base + low, high - low)
            else:
                self._written += high - low
                self._send_write(flight, connection, buffer[low:high], base + low)

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
                self._read += flight.piece.length
                self._write(flight)
                continue
            if not reading and not flight.error:
                self._latency = min(self._latency, time.monotonic() - flight.sent)
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
        self._retries += 1
        if error not in LOST:
            flight.attempts += 1
            if error in HOPELESS or flight.attempts > REQUEST_RETRIES:
                raise self._refused(flight, error)
            flight.not_before = time.monotonic() + RETRY_PAUSE * 2 ** (flight.attempts - 1)
        self._again.append(flight)

    def _refused(self, flight: Flight, error: int) -> OperationFailedError:
        piece = flight.piece
        where = f"{piece.length} bytes at offset {piece.offset} of {self._job.disk}"
        if error in (errno.ENOSPC, errno.EDQUOT):
            return OperationFailedError(
                f"the target has no space for {where}", os.strerror(error), "free space on the OMA's storage, run again"
            )
        tries = f"tried {flight.attempts} times"
        return OperationFailedError(
            f"{where} could not be {flight.stage}",
            f"{os.strerror(error)} ({errno.errorcode.get(error, error)}), {tries}",
            "look at the logs of the source reader and the exporter; the next run goes on from the last checkpoint",
        )

    def _adapt(self) -> None:
        """Fit connections and window to the target's latency, as far as the job leaves them open."""
        if self._latency == float("inf"):
            return
        size = size_for(self._latency)
        if self._job.window is None:
            self._window = max(self._window, size.window)
        if self._job.connections is None:
            self._widen(size.connections)

    def _maybe_checkpoint(self) -> None:
        """Flush now and then, beside the copy; what was complete when the flush began is safe when it ends."""
        position = self._watermark.position
        if self._flushing or position - self._checkpoint < CHECKPOINT_BYTES or not self._can_flush:
            return
        connection = self._target.pick()
        if connection is None:
            return
        self._flushing = True

        def flushed(error: Any) -> int:
            if not error.value:
                self._checkpoint = position
                self._emit(Checkpoint(position))
            self._flushing = False
            return 1

        try:
            connection.handle.aio_flush(completion=flushed)
        except nbd.Error:
            self._flushing = False

    def _last_checkpoint(self) -> None:
        """Write the checkpoint of a stop, if the target flushes in time; the last one holds otherwise."""
        position = self._watermark.position
        if position == self._checkpoint or not self._can_flush:
            return
        self._checkpoint = position - CHECKPOINT_BYTES
        deadline = time.monotonic() + STOP_SECONDS / 2
        self._flushing = False
        self._maybe_checkpoint()
        while self._flushing and time.monotonic() < deadline:
            self._poller.drive(self._target.connections, POLL_SECONDS)

    def _flush(self) -> None:
        """Flush the target: nothing may be called done before this returns."""
        if not self._can_flush:
            return
        last = ""
        for _ in range(REQUEST_RETRIES):
            connection = self._target.pick() or endpoint.open_one(self._target.connect, self._target.name)
            try:
                connection.handle.flush()
                return
            except nbd.Error as error:
                last = str(error)
                # What a failed flush has lost is unknown; only a connection that broke leaves the data where it was.
                if not connection.broken():
                    break
        raise OperationFailedError(
            f"the target of {self._job.disk} could not be flushed", last, "check the OMA's storage, then run again"
        )
