"""Reads blocks of a disk that a source reader serves."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import nbd
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError
from migratekit_core.engine import endpoint
from migratekit_core.engine.digests.blocks import Range
from migratekit_core.engine.extents import Extents

ATTEMPTS = 5
"""How often a block is read before it counts as unreadable; between them 0.1, 0.2, 0.4 … seconds pass."""


class Disk:
    """A disk behind an NBD URI; every thread that reads has a connection of its own."""

    def __init__(self, uri: str, name: str, size: int, request_size: int) -> None:
        self._uri = uri
        self._name = name
        self._own = threading.local()
        first = endpoint.abilities(self._connected())
        self._request_size = min(request_size, first.maximum_block)
        endpoint.refuse_small(first.size, size, f"source of {name}")
        self._size = first.size
        self._extents = first.extents

    def data(self, areas: Iterable[Range]) -> Iterator[Range]:
        """Yield what does not read as zeros within ascending areas, as far as the server knows."""
        if not self._extents:
            yield from areas
            return
        ask = Extents(self._connect, self._size, self._name)
        for offset, length in areas:
            for start, end, zero in ask(offset, offset + length):
                if not zero:
                    yield start, end - start

    def read(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer. Raises OperationFailedError where that fails again and again, never skips anything."""
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type((nbd.Error, MigrateKitError)),
                stop=stop_after_attempt(ATTEMPTS),
                wait=wait_exponential(multiplier=0.1),
                reraise=True,
            ):
                with attempt:
                    self._read(offset, buffer)
        except nbd.Error as error:
            raise OperationFailedError(
                f"{len(buffer)} bytes at offset {offset} of {self._name} could not be read from the source",
                f"{error.string}, tried {ATTEMPTS} times",
                "look at the log of the source reader, then run the command again",
                code=ErrorCode.DISK_READ_FAILED,
                facts={"offset": offset, "length": len(buffer)},
            ) from None

    def _read(self, offset: int, buffer: memoryview) -> None:
        handle = self._connected().handle
        failed: list[int] = []
        covered = endpoint.Covered()

        def answered(error: Any) -> int:
            if error.value:
                failed.append(error.value)
            return 1

        for at in range(0, len(buffer), self._request_size):
            part = buffer[at : at + self._request_size]
            handle.aio_pread_structured(part, offset + at, covered.chunk, completion=answered)
        while handle.aio_in_flight():
            handle.poll(-1)
        if failed:
            raise nbd.Error("the source refused the read", failed[0])
        if covered.bytes != len(buffer):
            raise nbd.Error("the answer does not cover what was asked for", errno.EPROTO)

    def _connected(self) -> endpoint.Connection:
        connection: endpoint.Connection | None = getattr(self._own, "connection", None)
        if connection is None or not connection.usable():
            connection = self._own.connection = endpoint.open_one(self._connect, f"source of {self._name}")
        return connection

    def _connect(self) -> endpoint.Connection:
        return endpoint.dial(self._uri)
