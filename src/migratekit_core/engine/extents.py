"""Which parts of a server's disk read as zeros: asked in large stretches, the next one while the last is being used."""

from __future__ import annotations

import _thread  # threading would cost every engine 5 ms at its start
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import nbd

from migratekit_core.common.errors import UnreachableError
from migratekit_core.common.units import GIB, MIB
from migratekit_core.engine.endpoint import Connection, open_one

FIRST_STRETCH = 2 * GIB
"""Bytes that the first question is about: for a disk with a tenth in use, nbdkit answers it within PATIENCE (7 ms).
With fewer, it would have to walk a full file once more, for the next one."""
PATIENCE = 0.01
"""Seconds that the first answer is waited for in any case."""
UNASKED = 256 * MIB
"""Bytes that at most count as data while it is awaited."""
STEP = MIB
"""Bytes that are called data at a time while nothing is known."""
STATUS_LIMIT = 2**32 - 512
"""Most bytes that one block status request may ask about; its length is 32 bits on the wire."""

Extent = tuple[int, int, bool]
"""(start, end, reads as zeros)"""


class Extents:
    """The extents of one disk, for one thread that asks in ascending order.

    Questions go through a connection of their own, so that none waits behind megabytes of data, and from a thread of
    their own: a server that walks a large file takes tens of milliseconds for an answer, in which the copy goes on.
    What the server does not say counts as data; so do `unasked` bytes at most while its first answer is awaited: a
    server that has to walk a full disk first takes a tenth of a second for it. That question goes through `first`, if
    there is such a connection, which `give_back` gets then: to greet, that server walks the disk as well.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        size: int,
        subject: str,
        unasked: int = 0,
        first: Connection | None = None,
        give_back: Callable[[Connection], None] = lambda connection: None,
    ) -> None:
        self._connect = connect
        self._unasked = unasked
        self._first = first
        self._give_back = give_back
        self._size = size
        self._subject = subject
        self._connection: Connection | None = None
        self._known: deque[Extent] = deque()
        self._ahead: _Answer | None = None
        self._told = 0
        """The end of the last stretch that was asked about."""

    def __call__(self, start: int, end: int) -> Iterator[Extent]:
        """Yield the extents of [start, end), cut at both ends."""
        while start < end:
            if not self._covers(start):
                if self._unasked > 0 and not self._begun(start, end):
                    stop = min((start // STEP + 1) * STEP, end)
                    self._unasked -= stop - start
                    yield start, stop, False
                    start = stop
                    continue
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

    def _begun(self, start: int, end: int) -> bool:
        """Ask the first question, if nobody has; return whether the server has answered any."""
        if self._told:
            return True
        if self._ahead is None:
            self._ahead = _Answer(partial(self._ask, start, min(start + FIRST_STRETCH, max(end, self._size))))
            return self._ahead.come(PATIENCE)
        return self._ahead.come()

    def _learn(self, start: int, end: int) -> None:
        """Find out about `start` and what follows; begin to ask about more where that will be wanted."""
        going_on = start - self._told < STATUS_LIMIT
        if self._ahead is not None:
            self._known.extend(self._ahead.wait())
            self._ahead = None
        if not self._covers(start):
            longest = STATUS_LIMIT if self._told else FIRST_STRETCH
            self._known.extend(self._ask(start, min(start + longest, max(end, self._size))))
        self._told = self._known[-1][1]
        # Changes that lie far apart are asked about one by one: what lies between them is nobody's business.
        if self._told < self._size and (end > self._told or going_on):
            self._ahead = _Answer(partial(self._ask, self._told, min(self._told + STATUS_LIMIT, self._size)))

    def _ask(self, start: int, end: int) -> list[Extent]:
        found: list[int] = []

        def collect(context: str, offset: int, entries: list[int], error: Any) -> int:
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                found.extend(entries)
            return 0

        first, self._first = self._first, None
        try:
            if first is not None:
                open_one(lambda: first, self._subject).handle.block_status(end - start, start, collect)
            else:
                self._connected().handle.block_status(end - start, start, collect)
        except (nbd.Error, UnreachableError):
            # Refused or broken off: nothing is known, and what is not known to be zero is copied.
            found = []
        finally:
            if first is not None:
                self._give_back(first)
        extents, position = [], start
        for length, flags in zip(found[::2], found[1::2], strict=True):
            if length:
                extents.append((position, position + length, bool(flags & nbd.STATE_ZERO)))
                position += length
        return extents or [(start, end, False)]

    def _connected(self) -> Connection:
        if self._connection is None or self._connection.broken():
            self._connection = open_one(self._connect, self._subject)
        return self._connection


class _Answer:
    """What `work` returns, or raises, in a thread of its own."""

    def __init__(self, work: Callable[[], list[Extent]]) -> None:
        self._work = work
        self._extents: list[Extent] = []
        self._error: BaseException | None = None
        self._awaited = _thread.allocate_lock()
        self._awaited.acquire()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            self._extents = self._work()
        except BaseException as error:
            self._error = error
        finally:
            self._awaited.release()

    def come(self, seconds: float = 0.0) -> bool:
        """Return whether it is there, or comes within `seconds`."""
        here = self._awaited.acquire(timeout=seconds)
        if here:
            self._awaited.release()
        return here

    def wait(self) -> list[Extent]:
        """Return it as soon as it is there."""
        self._awaited.acquire()
        if self._error is not None:
            raise self._error
        return self._extents
