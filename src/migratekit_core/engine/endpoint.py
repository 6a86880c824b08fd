"""Connections to an NBD server: opened together, watched by one poll loop, opened again when they break."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import nbd

from migratekit_core.errors import OperationFailedError, UnreachableError

STATUS_LIMIT = 2**32 - 512
"""Most bytes that one block status request may ask about; its length is 32 bits on the wire."""


CONNECT_SECONDS = 30.0
"""Until a handshake that does not end counts as an unreachable server."""


class Connection:
    """One connection of an endpoint, and how much is on its way through it."""

    def __init__(self, uri: str, extents: bool) -> None:
        self.handle: Any = nbd.NBD()
        # A read that fails is thrown away as a whole; clearing every buffer first would only cost memory bandwidth.
        self.handle.set_pread_initialize(False)
        if extents:
            self.handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
        self.in_flight = 0
        self.reason = ""
        """Why the connection broke, in libnbd's words."""
        self.handle.set_uri_allow_local_file(True)
        self.handle.aio_connect_uri(uri)

    def usable(self) -> bool:
        """Return whether requests can be sent."""
        return bool(self.handle.aio_is_ready() or self.handle.aio_is_processing())

    def broken(self) -> bool:
        """Return whether the connection has ended."""
        return bool(self.handle.aio_is_dead() or self.handle.aio_is_closed())


@dataclass(frozen=True)
class Abilities:
    """What the server said it can do."""

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
        maximum_block=handle.get_block_size(nbd.SIZE_MAXIMUM) or 32 * 1024 * 1024,
    )


def drive(connections: list[Connection], timeout: float) -> None:
    """Wait at most `timeout` seconds for something to happen on the connections, and let libnbd deal with it."""
    poller = select.poll()
    by_descriptor: dict[int, Connection] = {}
    for connection in connections:
        if connection.broken():
            continue
        direction = connection.handle.aio_get_direction()
        events = (select.POLLIN if direction & nbd.AIO_DIRECTION_READ else 0) | (
            select.POLLOUT if direction & nbd.AIO_DIRECTION_WRITE else 0
        )
        descriptor = connection.handle.aio_get_fd()
        by_descriptor[descriptor] = connection
        poller.register(descriptor, events)
    for descriptor, happened in poller.poll(timeout * 1000):
        _notify(by_descriptor[descriptor], happened)


def _notify(connection: Connection, happened: int) -> None:
    handle = connection.handle
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


def extents_of(
    connect: Callable[[], Connection], subject: str
) -> Callable[[int, int], Iterator[tuple[int, int, bool]]]:
    """Return a function that asks a server which parts of a stretch read as zeros.

    It uses a connection of its own, so that a question does not wait behind megabytes of data. What the server does
    not say counts as data.
    """
    holder: list[Connection] = []

    def ask(start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        while start < end:
            if not holder or holder[0].broken():
                holder[:] = [open_one(connect, subject)]
            found: list[int] = []

            def collect(context: str, offset: int, entries: list[int], error: Any) -> int:
                if context == nbd.CONTEXT_BASE_ALLOCATION:
                    found.extend(entries)  # noqa: B023
                return 0

            try:
                holder[0].handle.block_status(min(end - start, STATUS_LIMIT), start, collect)
            except nbd.Error as error:
                if holder[0].broken():
                    holder.clear()
                    raise UnreachableError(f"{subject}: the connection broke", str(error), "run again") from None
                found = []
            if not found:
                yield start, end, False
                return
            for length, flags in zip(found[::2], found[1::2], strict=True):
                stop = min(start + length, end)
                if stop > start:
                    yield start, stop, bool(flags & nbd.STATE_ZERO)
                start = stop

    return ask


def open_one(connect: Callable[[], Connection], subject: str) -> Connection:
    """Return a usable connection. Raises UnreachableError where the server does not answer in CONNECT_SECONDS."""
    deadline = time.monotonic() + CONNECT_SECONDS
    try:
        connection = connect()
        while not connection.usable():
            if connection.broken() or time.monotonic() > deadline:
                raise unreachable(subject, connection.reason or "no NBD handshake")
            drive([connection], 0.1)
    except nbd.Error as error:
        raise unreachable(subject, error.string) from None
    return connection


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
