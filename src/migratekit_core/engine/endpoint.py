"""Connections to an NBD server, and what libnbd's asynchronous calls need around them."""

from __future__ import annotations

import contextlib
import errno
import select
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import nbd

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, UnreachableError
from migratekit_core.common.units import MIB

CONNECT_SECONDS = 30.0
"""Until a handshake that does not end counts as an unreachable server."""
REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.ENOENT})
"""Errors of a handshake that the next one gets as well: the certificate, or the export, is refused."""
LARGEST_REQUEST = 32 * MIB
"""What every server takes unless it says less (NBD protocol, "block size constraints")."""


class Connection:
    """One connection, and how many requests are on their way through it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.in_flight = 0
        self.reason = ""
        """Why the connection broke, in libnbd's words."""
        self.errnum = 0
        """The errno that goes with it; 0 where there is none."""
        self.leaving = False
        """Whether the server has said that it ends (ESHUTDOWN): nothing more is asked of it."""
        self.served = False
        """Whether requests could ever be sent: one that was refused by the server has taken nothing with it."""
        self.missed = False
        """Whether it has been noticed that it broke."""

    def usable(self) -> bool:
        """Return whether requests can be sent."""
        return not self.leaving and self._open()

    def _open(self) -> bool:
        return bool(self.handle.aio_is_ready() or self.handle.aio_is_processing())

    def close(self) -> None:
        """Take leave of the server, without waiting for it: an orderly end keeps its log free of complaints."""
        with contextlib.suppress(nbd.Error):
            if self._open():
                self.handle.aio_disconnect()

    def broken(self) -> bool:
        """Return whether the connection has ended."""
        return self.leaving or bool(self.handle.aio_is_dead() or self.handle.aio_is_closed())

    def answered(self, error: int) -> int:
        """Return the errno of an answer as it counts here: a server that is ending takes its connections with it, and
        what was asked of it is asked anew on others."""
        if error == errno.ESHUTDOWN and not self.leaving:
            self.leaving, self.reason = True, self.reason or "the server ends"
        return errno.ENOTCONN if error and self.broken() else error


def dial(uri: str) -> Connection:
    """Begin a connection to an NBD server. Raises nbd.Error where that fails at once."""
    handle = nbd.NBD()
    # A read that fails is thrown away as a whole; clearing every buffer first would only cost memory bandwidth.
    handle.set_pread_initialize(False)
    handle.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
    handle.aio_connect_uri(uri)
    return Connection(handle)


class Abilities(NamedTuple):
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
    """Waits for connections. What one waits for changes seldom, so the list that the kernel gets is kept."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._directions: dict[Connection, int] = {}
        """What connections wait for that can be used; others may still change their descriptor."""
        self._descriptors: dict[Connection, int] = {}
        self._behind: dict[int, Connection] = {}

    def drive(self, connections: Iterable[Connection], timeout: float) -> tuple[bool, bool]:
        """Wait at most `timeout` seconds for something to happen on any connection, and let libnbd deal with it.

        Return whether anything happened, and whether a connection was found that became usable or broke.
        """
        directions, changed = self._directions, False
        for connection in connections:
            direction = connection.handle.aio_get_direction()
            if directions.get(connection) != direction:
                changed |= self._watch(connection, direction)
        happened = self._poll.poll(timeout * 1000)
        for descriptor, what in happened:
            _notify(self._behind[descriptor], what)
        return bool(happened), changed

    def _watch(self, connection: Connection, direction: int) -> bool:
        known = connection in self._directions
        if not known or not direction:
            self.forget(connection)
        if not direction:
            # libnbd waits for nothing once a connection has ended.
            return known or connection.broken()
        descriptor = self._descriptors[connection] = connection.handle.aio_get_fd()
        self._behind[descriptor] = connection
        events = (select.POLLIN if direction & nbd.AIO_DIRECTION_READ else 0) | (
            select.POLLOUT if direction & nbd.AIO_DIRECTION_WRITE else 0
        )
        self._poll.register(descriptor, events)
        if not known and not connection.usable():
            return False
        self._directions[connection] = direction
        return not known

    def forget(self, connection: Connection) -> None:
        """Wait for it no more, until it is to be driven again."""
        self._directions.pop(connection, None)
        descriptor = self._descriptors.pop(connection, -1)
        # Its number may be another connection's by now.
        if self._behind.get(descriptor) is connection:
            del self._behind[descriptor]
            self._poll.unregister(descriptor)


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
        connection.reason, connection.errnum = error.string, error.errnum or 0
        if not connection.broken():
            raise


def open_one(connect: Callable[[], Connection], subject: str, seconds: float = CONNECT_SECONDS) -> Connection:
    """Return a usable connection. Raises UnreachableError where the server does not answer within `seconds`."""
    return open_some(connect, subject, 1, seconds)[0]


def open_some(
    connect: Callable[[], Connection], subject: str, count: int, seconds: float = CONNECT_SECONDS
) -> list[Connection]:
    """Begin `count` connections, and return those that did not fail as soon as the first of them is usable; that one
    comes first. Raises UnreachableError where the server does not answer within `seconds`."""
    deadline = time.monotonic() + seconds
    poller = Poller()
    try:
        begun = [connect()]
        for _ in range(count - 1):
            with contextlib.suppress(nbd.Error):
                begun.append(connect())
        while not any(connection.usable() for connection in begun):
            if all(connection.broken() for connection in begun) or time.monotonic() > deadline:
                raise unreachable(subject, begun[0].reason or "no NBD handshake", begun[0].errnum)
            poller.drive(begun, 0.1)
    except nbd.Error as error:
        raise unreachable(subject, error.string, error.errnum or 0) from None
    alive = [connection for connection in begun if not connection.broken()]
    return sorted(alive, key=lambda connection: not connection.usable())


class Answer(NamedTuple):
    """What a completion gets: 0 or an errno, as from libnbd."""

    value: int


class Covered:
    """Counts what the answer to a read covers: libnbd takes a structured reply of any chunks for a whole one."""

    def __init__(self) -> None:
        self.bytes = 0

    def chunk(self, data: Any, offset: int, status: int, error: Any) -> int:
        """Take one chunk, data or a hole; libnbd's callback."""
        self.bytes += len(data)
        return 0


def unreachable(subject: str, reason: str, errnum: int = 0) -> UnreachableError:
    """Return the error for an NBD server that cannot be reached."""
    return UnreachableError(
        f"{subject} does not answer",
        reason,
        "check that its NBD server runs and the tunnel is up, then run again",
        code=ErrorCode.NBD_UNREACHABLE,
        facts={"errno": errnum},
    )


def refuse_small(size: int, needed: int, subject: str) -> None:
    """Raise OperationFailedError where a server has fewer bytes than the disk."""
    if size < needed:
        raise OperationFailedError(
            f"{subject} is too small",
            f"it has {size} bytes, the disk has {needed}",
            "check the volume's size",
            code=ErrorCode.SIZE_MISMATCH,
            facts={"size": size, "wanted": needed},
        )
