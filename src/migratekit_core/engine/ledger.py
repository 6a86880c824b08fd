"""The books of a copy: the pieces still to do, those on their way, what was done, and how it ends."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Iterator

from migratekit_core.engine.plan import Action, Piece
from migratekit_core.engine.rate import RateLimit
from migratekit_core.engine.watermark import Watermark
from migratekit_core.errors import OperationFailedError

REQUEST_RETRIES = 5
"""How often a piece that a server refused is tried again before the copy ends."""
CONNECTION_LOSSES = 20
"""How often a connection may break on the same piece: by then it is the piece that breaks it."""
RETRY_PAUSE = 0.1
"""Seconds before the first of them; each doubles it."""
LOST = frozenset({errno.ENOTCONN, errno.ECONNRESET, errno.EPIPE, errno.ESHUTDOWN, errno.ECONNABORTED})
"""Errors that mean the connection, not the piece."""
HOPELESS = frozenset({errno.ENOSPC, errno.EROFS, errno.EPERM, errno.EDQUOT})
"""Errors that the next try would get as well."""


class Flight:
    """A piece on its way."""

    __slots__ = ("attempts", "buffer", "error", "left", "losses", "not_before", "piece", "sent", "stage", "weight")

    def __init__(self, piece: Piece, weight: int) -> None:
        self.piece = piece
        self.weight = weight
        """How many bytes of the window it takes."""
        self.losses = 0
        """How often its connection broke."""
        self.buffer: memoryview | None = None
        self.attempts = 0
        self.left = 0
        """Requests of this piece that have not been answered yet."""
        self.error = 0
        self.stage = ""
        """What failed: the read or the write."""
        self.sent = 0.0
        self.not_before = 0.0


class Ledger:
    """The state of a copy."""

    def __init__(
        self, disk: str, plan: Iterator[Piece], start: int, window: int, limit: RateLimit, zeros_weigh: bool
    ) -> None:
        self._disk = disk
        self._zeros_weigh = zeros_weigh
        """Whether zeros are sent as data, for a target that has no zero requests."""
        self._plan = plan
        self._waiting: Piece | None = None
        self._exhausted = False
        self._again: deque[Flight] = deque()
        self._flying = 0
        self._bytes_flying = 0
        self._watermark = Watermark(start)
        self.window = window
        self.limit = limit
        self.latency = float("inf")
        """Fastest answer to a write so far, in seconds."""
        self.done = self.read = self.written = self.zeroed = self.retries = 0
        self.stopping = False
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
    def finished(self) -> bool:
        """Return whether everything is done."""
        return (
            self.failure is None and self._exhausted and self._waiting is None and not self._flying and not self._again
        )

    def take(self, now: float) -> Flight | None:
        """Return the next piece to send; None where there is none now, or the window or the bandwidth is used up."""
        if self.stopping or self.failure is not None:
            return None
        flight = self._next(now)
        if flight is None:
            return None
        self._flying += 1
        self._bytes_flying += flight.weight
        flight.error = 0
        return flight

    def _next(self, now: float) -> Flight | None:
        for _ in range(len(self._again)):
            flight = self._again.popleft()
            if flight.not_before <= now:
                return flight
            self._again.append(flight)
        piece = self._waiting or self._following()
        self._waiting = piece
        if piece is None or self.limit.delay(now):
            return None
        flight = Flight(piece, piece.length if piece.action is Action.COPY or self._zeros_weigh else 0)
        if self._flying and self._bytes_flying + flight.weight > self.window:
            return None
        self._waiting = None
        self._watermark.begin(piece.offset, piece.offset + piece.length)
        self.limit.spend(flight.weight)
        return flight

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
        self._land(flight)
        flight.not_before = time.monotonic() + pause
        self._again.append(flight)

    def complete(self, flight: Flight) -> None:
        """A piece is on the target."""
        piece = flight.piece
        self._land(flight)
        self._watermark.end(piece.offset)
        if piece.action is Action.COPY:
            self.read += piece.length
        if not piece.gap:
            self.done += piece.length
        self.latency = min(self.latency, time.monotonic() - flight.sent)

    def count(self, written: int, zeroed: int) -> None:
        """Count what was sent to the target."""
        self.written += written
        self.zeroed += zeroed

    def failed(self, flight: Flight) -> None:
        """A piece failed: it is tried again, or ends the copy."""
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

    def _refused(self, flight: Flight) -> OperationFailedError:
        where = f"{flight.piece.length} bytes at offset {flight.piece.offset} of {self._disk}"
        reason = f"{os.strerror(flight.error)} ({errno.errorcode.get(flight.error, flight.error)})"
        if flight.error in (errno.ENOSPC, errno.EDQUOT):
            return OperationFailedError(
                f"the target has no space for {where}", reason, "free space on the OMA's storage, then run again"
            )
        return OperationFailedError(
            f"{where} could not be {flight.stage}",
            f"{reason}, tried {flight.attempts + flight.losses} times",
            "look at the logs of the source reader and the exporter; the next run goes on from the last checkpoint",
        )
