"""Flushes beside the copy, and says how far it is safe: what was complete when a flush began is safe when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import nbd

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.units import MIB
from migratekit_core.engine.endpoint import Connection
from migratekit_core.engine.ledger import UNSAFE_BYTES, Ledger

SECONDS = 5.0
"""How old a checkpoint may become on a slow link."""
STALLED_BYTES = 8 * MIB
"""What a flush is worth while the copy waits for it: a far target holds most of what may be unsafe on its way."""
FLUSH_SECONDS = 600.0
"""How long a flush may take: a slow array with a full cache needs minutes."""
POLL_SECONDS = 0.05


class Checkpoints:
    """The checkpoints of one copy.

    `connection` gives a usable connection whose flush covers everything that was written: any one of a server that says
    so (multi-conn), the only one of any other. `drive` waits for it to move, for so many seconds at most.
    """

    def __init__(
        self,
        disk: str,
        ledger: Ledger,
        connection: Callable[[], Connection | None],
        drive: Callable[[float], None],
        emit: Callable[[int], None],
    ) -> None:
        self._disk = disk
        self._ledger = ledger
        self._last = ledger.position
        self._began = time.monotonic()
        self._connection = connection
        self._emit = emit
        self._drive = drive
        self._under_way: _Flush | None = None
        self.complete = False
        """Whether everything there was to do is done and flushed."""

    def tick(self, now: float) -> None:
        """Begin a flush when one is due, or see whether the one under way has ended.

        Raises OperationFailedError where the target refuses to flush, or does not end.
        """
        flush = self._under_way
        if flush is None:
            if self._due(now):
                self._begin(now)
            return
        if flush.answer:
            flush.connection.answered(flush.answer[0])
        if flush.connection.broken():
            self._under_way = None
        elif flush.answer:
            self._under_way = None
            self._ended(flush)
        elif now - flush.began > FLUSH_SECONDS:
            raise self._lost(f"no answer for {FLUSH_SECONDS:.0f} s")

    def last(self, seconds: float) -> None:
        """Write a checkpoint of what is done now, if the target flushes in `seconds`: the copy stops here."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self._under_way is None and not self._begin(time.monotonic()):
                return
            flush = self._under_way
            assert flush is not None, "a flush has begun"
            while not flush.answer and not flush.connection.broken() and time.monotonic() < deadline:
                self._drive(POLL_SECONDS)
            self._under_way = None
            if flush.answer:
                flush.connection.answered(flush.answer[0])
            if flush.connection.broken() or not flush.answer:
                return
            self._ended(flush)
            if self._last >= self._ledger.position:
                return

    def _due(self, now: float) -> bool:
        ledger = self._ledger
        if ledger.held or ledger.finished:
            return not self.complete
        if ledger.position <= self._last:
            return False
        # Half of what the window leaves: the rest keeps the copy going while the flush is under way. A copy that
        # waits for a flush gets one sooner.
        room = max(UNSAFE_BYTES - ledger.bytes_flying, 0) // 2
        enough = min(room, STALLED_BYTES) if ledger.stalled else room
        return ledger.bytes_unsafe - ledger.bytes_flying >= enough or now - self._began > SECONDS

    def _begin(self, now: float) -> bool:
        connection = self._connection()
        if connection is None:
            return False
        ledger = self._ledger
        flush = _Flush(connection, ledger.position, ledger.finished, ledger.doubts, now)
        try:
            connection.handle.aio_flush(completion=flush.answered)
        except nbd.Error as error:
            connection.reason = error.string
            return False
        connection.in_flight += 1
        self._under_way, self._began = flush, now
        return True

    def _ended(self, flush: _Flush) -> None:
        if flush.answer[0]:
            # What a refused flush has lost is unknown, and the next one may well succeed without it.
            raise self._lost(f"error {flush.answer[0]}")
        ledger = self._ledger
        if flush.doubts != ledger.doubts:
            # A connection broke meanwhile: who knows whether this is the server that had taken everything.
            return
        ledger.held = False
        self.complete = flush.final
        if flush.position > self._last:
            self._last = flush.position
            ledger.safe(flush.position)
            self._emit(flush.position)

    def _lost(self, reason: str) -> OperationFailedError:
        return OperationFailedError(
            f"the target of {self._disk} could not be flushed",
            reason,
            "check the OMA's storage, then run again",
            code=ErrorCode.DISK_WRITE_FAILED,
            facts={"disk": self._disk},
        )


class _Flush:
    """A flush under way."""

    def __init__(self, connection: Connection, position: int, final: bool, doubts: int, began: float) -> None:
        self.connection = connection
        self.position = position
        """The watermark when it began: below it, everything is safe when it ends."""
        self.final = final
        """Whether everything was done by then."""
        self.doubts = doubts
        self.began = began
        self.answer: list[int] = []

    def answered(self, error: Any) -> int:
        """Take the answer from libnbd."""
        self.connection.in_flight -= 1
        self.answer.append(error.value)
        return 1
