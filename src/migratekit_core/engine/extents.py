"""Which parts of a server's disk read as zeros: asked in large stretches, the next one while the last is being used."""

from __future__ import annotations

import _thread  # threading would cost every engine 5 ms at its start
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import nbd

from migratekit_core.engine.endpoint import Connection, open_one
from migratekit_core.errors import UnreachableError
from migratekit_core.units import MIB

FIRST_STRETCH = 256 * MIB
"""Bytes that the first question is about: the copy waits for its answer, and for no other."""
STATUS_LIMIT = 2**32 - 512
"""Most bytes that one block status request may ask about; its length is 32 bits on the wire."""

Extent = tuple[int, int, bool]
"""(start, end, reads as zeros)"""


class Extents:
    """The extents of one disk, for one thread that asks in ascending order.

    Questions go through a connection of their own, so that none waits behind megabytes of data, and from a thread of
    their own: a server that walks a large file takes tens of milliseconds for an answer, in which the copy goes on.
    What the server does not say counts as data.
    """

    def __init__(self, connect: Callable[[], Connection], size: int, subject: str) -> None:
        self._connect = connect
        self._size = size
        self._subject = subject
        self._connection: Connection | None = None
        self._known: deque[Extent] = deque()
        self._ahead: Callable[[], list[Extent]] | None = None
        self._told = 0
        """The end of the last stretch that was asked about."""

    def __call__(self, start: int, end: int) -> Iterator[Extent]:
        """Yield the extents of [start, end), cut at both ends."""
        while start < end:
            if not self._covers(start):
                self._learn(start, end)
            _, known_end, zero = self._known[0]
            stop = min(known_end, end)
            yield start, stop, zero
            start = stop

    def _covers(self, start: int) -> bool:
        known = self._known
        while known and known[0][1] <= start:
            known.popleft()
        return bool(known)

    def _learn(self, start: int, end: int) -> None:
        """Find out about `start` and what follows; begin to ask about more where that will be wanted."""
        going_on = start - self._told < STATUS_LIMIT
        if self._ahead is not None:
            self._known.extend(self._ahead())
            self._ahead = None
        if not self._covers(start):
            longest = STATUS_LIMIT if self._told else FIRST_STRETCH
            self._known.extend(self._ask(start, min(start + longest, max(end, self._size))))
        self._told = self._known[-1][1]
        # Changes that lie far apart are asked about one by one: what lies between them is nobody's business.
        if self._told < self._size and (end > self._told or going_on):
            self._ahead = _begin(partial(self._ask, self._told, min(self._told + STATUS_LIMIT, self._size)))

    def _ask(self, start: int, end: int) -> list[Extent]:
        found: list[int] = []

        def collect(context: str, offset: int, entries: list[int], error: Any) -> int:
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                found.extend(entries)
            return 0

        try:
            if self._connection is None or self._connection.broken():
                self._connection = open_one(self._connect, self._subject)
            self._connection.handle.block_status(end - start, start, collect)
        except (nbd.Error, UnreachableError):
            # Refused or broken off: nothing is known, and what is not known to be zero is copied.
            found = []
        extents, position = [], start
        for length, flags in zip(found[::2], found[1::2], strict=True):
            extents.append((position, position + length, bool(flags & nbd.STATE_ZERO)))
            position += length
        return extents or [(start, end, False)]


def _begin(work: Callable[[], list[Extent]]) -> Callable[[], list[Extent]]:
    """Do `work` in a thread; return what waits for its result, and raises what it raised."""
    done = _thread.allocate_lock()
    done.acquire()
    results: list[list[Extent]] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.release()

    _thread.start_new_thread(run, ())

    def wait() -> list[Extent]:
        done.acquire()
        if errors:
            raise errors[0]
        return results[0]

    return wait
