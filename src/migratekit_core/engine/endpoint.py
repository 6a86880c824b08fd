"""Connections to an NBD server, and what libnbd's asynchronous calls need around them."""

from __future__ import annotations

import contextlib
import select
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import nbd

from migratekit_core.errors import OperationFailedError, UnreachableError
from migratekit_core.units import MIB

CONNECT_SECONDS = 30.0
"""Until a handshake that does not end counts as an unreachable server."""
STATUS_LIMIT = 2**32 - 512
"""Most bytes that one block status request may ask about; its length is 32 bits on the wire."""
LARGEST_REQUEST = 32 * MIB
"""What every server takes unless it says less (NBD protocol, "block size constraints")."""

Extent = tuple[int, int, bool]
"""(start, end, reads as zeros)"""


class Connection:
    """One connection, and how many requests are on their way through it."""

    def __init__(self, uri: str) -> None:
        self.handle: Any = nbd.NBD()
        # A read that fails is thrown away as a whole; clearing every buffer first would only cost memory bandwidth.
        self.handle.set_pread_initialize(False)
        self.handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self.in_flight = 0
        self.reason = ""
        """Why the connection broke, in libnbd's words."""
        self.handle.aio_connect_uri(uri)

    def usable(self) -> bool:
        """Return whether requests can be sent."""
        return bool(self.handle.aio_is_ready() or self.handle.aio_is_processing())

    def close(self) -> None:
        """Take leave of the server, without waiting for it: an orderly end keeps its log free of complaints."""
        with contextlib.suppress(nbd.Error):
            if self.usable():
                self.handle.aio_disconnect()

    def broken(self) -> bool:
        """Return whether the connection has ended."""
        return bool(self.handle.aio_is_dead() or self.handle.aio_is_closed())


@dataclass(frozen=True)
class Abilities:
    """What the server said it can do; sizes are bytes."""

    size: int
    read_only: bool
    multi_conn: bool
    zero: bool
    flush: bool
    extents: bool
    minimum_block: int
    maximum_block: int


def abilities(connection: Connection) -> Abilities:
    """Return what the server behind a usable connection can do."""
    handle = connection.handle
    return Abilities(
        size=handle.get_size(),
        read_only=handle.is_read_only(),
        multi_conn=handle.can_multi_conn(),
        zero=handle.can_zero(),
        flush=handle.can_flush(),
        extents=handle.can_meta_context(nbd.CONTEXT_BASE_ALLOCATION),
        minimum_block=handle.get_block_size(nbd.SIZE_MINIMUM) or 1,
        maximum_block=min(handle.get_block_size(nbd.SIZE_MAXIMUM) or LARGEST_REQUEST, LARGEST_REQUEST),
    )


class Poller:
    """Waits for connections. What is watched changes seldom, so the kernel is told only of changes."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._watched: dict[int, tuple[Connection, int]] = {}

    def drive(self, some: Iterable[Connection], others: Iterable[Connection], timeout: float) -> None:
        """Wait at most `timeout` seconds for something to happen on any connection, and let libnbd deal with it."""
        for connection in some:
            self._watch(connection)
        for connection in others:
            self._watch(connection)
        for descriptor, happened in self._poll.poll(timeout * 1000):
            connection, _ = self._watched[descriptor]
            _notify(connection, happened)
            if connection.broken():
                self._forget(descriptor)

    def _watch(self, connection: Connection) -> None:
        if connection.broken():
            return
        handle = connection.handle
        descriptor, direction = handle.aio_get_fd(), handle.aio_get_direction()
        watched = self._watched.get(descriptor)
        if watched is not None and watched[0] is connection and watched[1] == direction:
            return
        self._watched[descriptor] = (connection, direction)
        events = (select.POLLIN if direction & nbd.AIO_DIRECTION_READ else 0) | (
            select.POLLOUT if direction & nbd.AIO_DIRECTION_WRITE else 0
        )
        self._poll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        del self._watched[descriptor]
        with contextlib.suppress(KeyError):
            self._poll.unregister(descriptor)


def _notify(connection: Connection, happened: int) -> None:
    handle = connection.handle
    if connection.broken():
        return
    direction = handle.aio_get_direction()
    try:
        # Also on POLLHUP and POLLERR: the read is what finds out why.
        if direction & nbd.AIO_DIRECTION_READ and happened & (select.POLLIN | select.POLLHUP | select.POLLERR):
            handle.aio_notify_read()
        elif direction & nbd.AIO_DIRECTION_WRITE and happened & (select.POLLOUT | select.POLLHUP | select.POLLERR):
            handle.aio_notify_write()
    except nbd.Error as error:
        # The connection is dead now; its requests end with an error of their own, and are sent again elsewhere.
        connection.reason = error.string
        if not connection.broken():
            raise


def open_one(connect: Callable[[], Connection], subject: str, seconds: float = CONNECT_SECONDS) -> Connection:
    """Return a usable connection. Raises UnreachableError where the server does not answer within `seconds`."""
    deadline = time.monotonic() + seconds
    poller = Poller()
    try:
        connection = connect()
        while not connection.usable():
            if connection.broken() or time.monotonic() > deadline:
                raise unreachable(subject, connection.reason or "no NBD handshake")
            poller.drive([connection], (), 0.1)
    except nbd.Error as error:
        raise unreachable(subject, error.string) from None
    return connection


class Extents:
    """Which parts of a server's disk read as zeros, asked in large stretches and remembered as far as asked ahead.

    Questions come in ascending order. They go through a connection of their own, so that none waits behind megabytes
    of data. What the server does not say counts as data.
    """

    def __init__(self, connect: Callable[[], Connection], size: int, subject: str) -> None:
        self._connect = connect
        self._size = size
        self._subject = subject
        self._connection: Connection | None = None
        self._known: deque[Extent] = deque()

    def __call__(self, start: int, end: int) -> Iterator[Extent]:
        """Yield the extents of [start, end), cut at both ends."""
        while start < end:
            while self._known and self._known[0][1] <= start:
                self._known.popleft()
            if not self._known:
                self._ask(start, max(end, min(start + STATUS_LIMIT, self._size)))
            _, known_end, zero = self._known[0]
            stop = min(known_end, end)
            yield start, stop, zero
            start = stop

    def _ask(self, start: int, end: int) -> None:
        found: list[int] = []

        def collect(context: str, offset: int, entries: list[int], error: Any) -> int:
            if context == nbd.CONTEXT_BASE_ALLOCATION:
                found.extend(entries)
            return 0

        try:
            if self._connection is None or self._connection.broken():
                self._connection = open_one(self._connect, self._subject)
            self._connection.handle.block_status(min(end - start, STATUS_LIMIT), start, collect)
        except (nbd.Error, UnreachableError):
            # Refused or broken off: nothing is known, and what is not known to be zero is copied.
            found = []
        position = start
        for length, flags in zip(found[::2], found[1::2], strict=True):
            self._known.append((position, position + length, bool(flags & nbd.STATE_ZERO)))
            position += length
        if position == start:
            self._known.append((start, end, False))


def unreachable(subject: str, reason: str) -> UnreachableError:
    """Return the error for an NBD server that cannot be reached."""
    return UnreachableError(
        f"{subject} does not answer", reason, "check that its NBD server runs and the tunnel is up, then run again"
    )


def refuse_small(size: int, needed: int, subject: str) -> None:
    """Raise OperationFailedError where a server has fewer bytes than the disk."""
    if size < needed:
        raise OperationFailedError(
            f"{subject} is too small", f"it has {size} bytes, the disk has {needed}", "check the volume's size"
        )
