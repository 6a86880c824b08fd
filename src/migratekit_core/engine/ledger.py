"""The books of a copy: the pieces still to do, those on their way, what was done, and how it ends."""

from __future__ import annotations

import errno
import os
import time
from _thread import RLock  # threading would cost every engine 5 ms at its start
from collections import deque
from collections.abc import Iterator

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.units import MIB
from migratekit_core.engine.buffers import SMALLEST
from migratekit_core.engine.endpoint import Covered
from migratekit_core.engine.plan import Action, Piece
from migratekit_core.engine.rate import RateLimit
from migratekit_core.engine.watermark import Watermark

UNSAFE_BYTES = 64 * MIB
"""How much may be on its way to the target or on it since the last checkpoint: all that a crash makes the next run copy
again, besides what was missing anyway."""
LEAST_WEIGHT = SMALLEST
"""What a request counts for at least: the memory of its buffer, however little it carries."""
REQUEST_RETRIES = 5
"""How often a piece that a server refused is tried again before the copy ends."""
CONNECTION_LOSSES = 20
"""How often a connection may break on the same piece: by then it is the piece that breaks it."""
RETRY_PAUSE = 0.1
"""Seconds before the first of them; each doubles it."""
READ, WRITTEN, FLUSHED = "read from the source", "written to the target", "flushed"
"""What could not be done with a piece."""
LOST = frozenset({errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN, errno.ECONNABORTED})
"""Errors that mean the connection, not the piece."""
HOPELESS = frozenset({errno.ENOSPC, errno.EROFS, errno.EPERM, errno.EDQUOT})
"""Errors that the next try would get as well."""


class Flight:
    """A piece on its way."""

    __slots__ = (
        "attempts", "buffer", "coming", "complete", "covered", "doubts", "error", "left", "lent", "losses",
        "not_before", "payload", "piece", "reading", "sent", "stage", "weight",
    )  # fmt: skip

    def __init__(self, piece: Piece, payload: int, weight: int) -> None:
        self.piece = piece
        self.payload = payload
        """How many bytes of data it moves."""
        self.weight = weight
        """How many bytes of the window it takes."""
        self.coming = 0
        """How much of that is on its way from the source."""
        self.complete = False
        """Whether the target has taken it; only a flush makes that last."""
        self.losses = 0
        """How often its connection broke."""
        self.lent: memoryview | None = None
        """The buffer it got, and in `buffer` as much of it as the piece has bytes."""
        self.buffer: memoryview | None = None
        self.covered: Covered | None = None
        """What the answer to its read covered."""
        self.doubts = 0
        """Those there had been when it was sent."""
        self.attempts = 0
        self.left = 0
        """Requests of this piece that have not been answered yet."""
        self.error = 0
        self.stage = ""
        """What failed: the read or the write."""
        self.sent = 0.0
        self.reading = 0.0
        """Seconds that its read took."""
        self.not_before = 0.0


class Ledger:
    """The state of a copy. Any thread may take pieces and book what came of them."""

    def __init__(
        self, disk: str, plan: Iterator[Piece], start: int, window: int, limit: RateLimit, zeros_weigh: bool
    ) -> None:
        self._disk = disk
        self._lock = RLock()
        self._zeros_weigh = zeros_weigh
        """Whether zeros are sent as data, for a target that has no zero requests."""
        self._plan = plan
        self._waiting: Piece | None = None
        self._exhausted = False
        self._again: deque[Flight] = deque()
        self._flying = 0
        self._bytes_flying = 0
        self._safe = start
        self._watermark = Watermark(start)
        self._unsafe: deque[Flight] = deque()
        """What was begun since the last checkpoint, in ascending order; a flush has not covered all of it."""
        self._bytes_unsafe = 0
        self.window = window
        self.reading_window = window
        """How much of the window may be on its way from the source: what is read too early comes in any order, and what
        comes late keeps everything behind it from being safe."""
        self._bytes_reading = 0
        self.limit = limit
        self.latency = float("inf")
        """Fastest answer to a write so far, in seconds."""
        self.reading = float("inf")
        """Fastest answer to a read."""
        self.answers = 0
        """How many pieces those are the fastest of."""
        self.done = self.read = self.written = self.zeroed = self.retries = 0
        self.pieces = 0
        """How many pieces were read and are on the target."""
        self.doubts = 0
        """How often what was written came into doubt."""
        self.stopping = False
        self.stalled = False
        """Whether the next piece waits for a flush."""
        self.held = False
        """Whether nothing is to be sent yet."""
        self.failure: BaseException | None = None

    @property
    def position(self) -> int:
        """Return the watermark: everything below it is done."""
        return self._watermark.position

    @property
    def flying(self) -> int:
        """Return how many pieces have been sent and not been answered."""
        return self._flying

    @property
    def over(self) -> bool:
        """Return whether there is nothing left to wait for: all is done, has failed, or was stopped and has landed."""
        with self._lock:
            return self.failure is not None or (not self._flying and (self.stopping or self.finished))

    @property
    def finished(self) -> bool:
        """Return whether everything is done."""
        with self._lock:
            left = self._waiting is not None or self._flying or self._again
            return self.failure is None and self._exhausted and not left

    @property
    def bytes_unsafe(self) -> int:
        """Return how much of what was begun is not known to be safe."""
        return self._bytes_unsafe

    @property
    def bytes_flying(self) -> int:
        """Return how much has been sent and not been answered."""
        return self._bytes_flying

    def take(self, now: float) -> Flight | None:
        """Return the next piece to send; None where there is none now, or the window or the bandwidth is used up."""
        with self._lock:
            if self.stopping or self.held or self.failure is not None:
                return None
            flight = self._another_try(now) or self._first_try(now)
            if flight is None:
                return None
            self._flying += 1
            self._bytes_flying += flight.weight
            self.limit.spend(flight.payload)
            flight.error = 0
            flight.reading = 0.0
            if flight.piece.action is Action.COPY:
                flight.coming = flight.weight
                self._bytes_reading += flight.weight
            flight.doubts = self.doubts
            return flight

    def _another_try(self, now: float) -> Flight | None:
        for _ in range(len(self._again)):
            flight = self._again[0]
            if flight.not_before <= now:
                may = self._fits(flight.piece, flight.weight) and not self.limit.delay(now, flight.payload)
                return self._again.popleft() if may else None
            self._again.rotate(-1)
        return None

    def _first_try(self, now: float) -> Flight | None:
        piece = self._waiting = self._waiting or self._following()
        if piece is None:
            return None
        payload = piece.length if piece.action is Action.COPY or self._zeros_weigh else 0
        weight = max(payload, LEAST_WEIGHT)
        self.stalled = bool(self._unsafe) and self._bytes_unsafe + weight > UNSAFE_BYTES
        if self.stalled or not self._fits(piece, weight) or self.limit.delay(now, payload):
            return None
        flight = Flight(piece, payload, weight)
        self._waiting = None
        self._watermark.begin(piece.offset, piece.offset + piece.length)
        self._unsafe.append(flight)
        self._bytes_unsafe += flight.weight
        return flight

    def _fits(self, piece: Piece, weight: int) -> bool:
        if not self._flying:
            return True
        # However small the window is, one piece may be read at a time.
        coming = self._bytes_reading
        if piece.action is Action.COPY and coming and coming + weight > self.reading_window:
            return False
        return self._bytes_flying + weight <= self.window

    def _following(self) -> Piece | None:
        """Return the plan's next piece that is any work."""
        while not self._exhausted:
            piece = next(self._plan, None)
            if piece is None:
                self._exhausted = True
            elif piece.action is not Action.NOTHING:
                return piece
            elif not piece.gap:
                self.done += piece.length
        return None

    def put_back(self, flight: Flight, pause: float) -> None:
        """Have a piece that no connection could take sent again after `pause` seconds."""
        with self._lock:
            self._land(flight)
            self.limit.spend(-flight.payload)
            flight.not_before = time.monotonic() + pause
            self._again.append(flight)

    def was_read(self, flight: Flight) -> None:
        """A piece has come from the source."""
        with self._lock:
            self._bytes_reading -= flight.coming
            flight.coming = 0

    def complete(self, flight: Flight) -> None:
        """A piece is on the target."""
        with self._lock:
            if flight.doubts != self.doubts:
                # It may have been taken by a server that died before this was heard of.
                flight.error, flight.stage = errno.ENOTCONN, FLUSHED
                self.failed(flight)
                return
            piece = flight.piece
            self._land(flight)
            flight.complete = True
            self._watermark.end(piece.offset)
            if piece.action is Action.COPY:
                self.read += piece.length
                self.pieces += 1
            if not piece.gap:
                self.done += piece.length
            if flight.payload:
                self.latency = min(self.latency, time.monotonic() - flight.sent)
                self.reading = min(self.reading, flight.reading or self.reading)
                self.answers += 1

    def safe(self, position: int) -> None:
        """Everything below `position` has been flushed."""
        with self._lock:
            self._safe = position
            while self._unsafe and self._unsafe[0].piece.offset < position:
                self._bytes_unsafe -= self._unsafe.popleft().weight

    def doubt(self) -> None:
        """A connection to the target broke: what was written since the last flush is to be written again.

        The server may have died with all that it had taken and not flushed, and another one that answers in its place
        flushes without knowing.
        """
        with self._lock:
            self.doubts += 1
            self._watermark = Watermark(self._safe)
            for flight in self._unsafe:
                piece = flight.piece
                self._watermark.begin(piece.offset, piece.offset + piece.length)
                if not flight.complete:
                    continue
                flight.complete = False
                flight.error, flight.stage = errno.ENOTCONN, FLUSHED
                flight.not_before = 0.0
                if not piece.gap:
                    self.done -= piece.length
                self._flying += 1
                self._bytes_flying += flight.weight
                self.failed(flight)

    def measure_again(self) -> None:
        """Forget how fast answers were: something has happened."""
        with self._lock:
            self.latency = self.reading = float("inf")
            self.answers = 0

    def change_rate(self, bytes_per_second: int | None, now: float) -> None:
        """Set another limit."""
        with self._lock:
            self.limit.change(bytes_per_second, now)

    def count(self, written: int, zeroed: int) -> None:
        """Count what was sent to the target."""
        with self._lock:
            self.written += written
            self.zeroed += zeroed

    def failed(self, flight: Flight) -> None:
        """A piece failed: it is tried again, or ends the copy."""
        with self._lock:
            self._land(flight)
            self.retries += 1
            flight.losses += flight.error in LOST
            if flight.losses > CONNECTION_LOSSES:
                self.failure = self.failure or self._refused(flight)
                return
            if flight.error not in LOST:
                flight.attempts += 1
                if flight.error in HOPELESS or flight.attempts > REQUEST_RETRIES:
                    self.failure = self.failure or self._refused(flight)
                    return
                flight.not_before = time.monotonic() + RETRY_PAUSE * 2 ** (flight.attempts - 1)
            self._again.append(flight)

    def _land(self, flight: Flight) -> None:
        self._flying -= 1
        self._bytes_flying -= flight.weight
        self._bytes_reading -= flight.coming
        flight.coming = 0

    def _refused(self, flight: Flight) -> OperationFailedError:
        where = f"{flight.piece.length} bytes at offset {flight.piece.offset} of {self._disk}"
        reason = f"{os.strerror(flight.error)} ({errno.errorcode.get(flight.error, flight.error)})"
        if flight.error in (errno.ENOSPC, errno.EDQUOT):
            return OperationFailedError(
                f"the target has no space for {where}",
                reason,
                "free space on the OMA's storage, then run again",
                code=ErrorCode.NO_SPACE,
                facts={"offset": flight.piece.offset, "length": flight.piece.length},
            )
        return OperationFailedError(
            f"{where} could not be {flight.stage}",
            f"{reason}, tried {flight.attempts + flight.losses} times",
            "look at the logs of the source reader and the exporter; the next run goes on from the last checkpoint",
            code=ErrorCode.DISK_READ_FAILED if flight.stage == READ else ErrorCode.DISK_WRITE_FAILED,
            facts={"offset": flight.piece.offset, "length": flight.piece.length},
        )
