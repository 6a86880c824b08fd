"""Flushes beside the copy, and says how far it is safe: what was complete when a flush began is safe when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import nbd

from migratekit_core.engine.endpoint import Connection, Poller
from migratekit_core.engine.side import TARGET_PATIENCE
from migratekit_core.errors import OperationFailedError
from migratekit_core.units import MIB

CHECKPOINT_BYTES = 32 * MIB
"""How much may have been done since the last checkpoint: what a crash costs at most, besides the window."""
PAUSE = 0.2
POLL_SECONDS = 0.1


class Checkpoints:
    """The checkpoints of one copy.

    `connection` gives a usable connection whose flush covers everything that was written: any one of a server that says
    so (multi-conn), the only one of any other.
    """

    def __init__(
        self,
        disk: str,
        position: Callable[[], int],
        start: int,
        connection: Callable[[], Connection | None],
        emit: Callable[[int], None],
    ) -> None:
        self._disk = disk
        self._position = position
        self._last = start
        self._connection = connection
        self._emit = emit
        self._poller = Poller()
        self._under_way: tuple[Connection, int, list[int]] | None = None
        """The connection, the watermark when its flush began, and the answer once it is there."""

    def tick(self) -> None:
        """Begin a flush when enough was done since the last checkpoint, or see whether the one under way has ended."""
        if self._under_way is None:
            if self._position() - self._last >= CHECKPOINT_BYTES:
                self._begin()
            return
        connection, position, answer = self._under_way
        if not connection.broken():
            self._poller.drive([connection], (), 0)
        if answer and not answer[0]:
            self._last = position
            self._emit(position)
        if answer and answer[0] and not connection.broken():
            # What a refused flush has lost is unknown, and the next one may well succeed without it.
            raise self._lost(f"error {answer[0]}")
        if answer or connection.broken():
            self._under_way = None

    def now(self, seconds: float) -> None:
        """Flush and write a checkpoint now. Raises OperationFailedError where that cannot be done in `seconds`."""
        deadline = time.monotonic() + seconds
        patience = time.monotonic() + min(seconds, TARGET_PATIENCE)
        self._under_way = None
        reason = "no connection"
        while True:
            began = self._begin()
            while self._under_way is not None and time.monotonic() < deadline:
                connection, position, answer = self._under_way
                if answer and not answer[0]:
                    self._under_way = None
                    if position > self._last:
                        self._last = position
                        self._emit(position)
                    return
                if answer or connection.broken():
                    reason = connection.reason or (f"error {answer[0]}" if answer else "the connection broke")
                    break
                self._poller.drive([connection], (), POLL_SECONDS)
            # Only a connection that broke leaves the data where it was.
            refused = began and self._under_way is not None and not self._under_way[0].broken()
            self._under_way = None
            if refused or time.monotonic() > (deadline if began else patience):
                raise self._lost(reason)
            time.sleep(PAUSE)

    def _lost(self, reason: str) -> OperationFailedError:
        return OperationFailedError(
            f"the target of {self._disk} could not be flushed", reason, "check the OMA's storage, then run again"
        )

    def _begin(self) -> bool:
        connection = self._connection()
        if connection is None:
            return False
        position = self._position()
        answer: list[int] = []

        def flushed(error: Any) -> int:
            answer.append(error.value)
            return 1

        try:
            connection.handle.aio_flush(completion=flushed)
        except nbd.Error as error:
            connection.reason = error.string
            return False
        self._under_way = (connection, position, answer)
        return True
