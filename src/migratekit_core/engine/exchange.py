"""A few blocks written to an export and read back, by the ways that a copy goes: for `doctor --probe`.

Data go as a copy's do, through `gate` where the tunnel is TLS; reads go through this host's end of the tunnel, as a
copy's questions do.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import nbd

from migratekit_core.adapters.tunnel import Gate
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.engine import endpoint
from migratekit_core.engine.endpoint import Answer, Connection, Covered, Poller

Ask = Callable[[Any, Callable[[Any], int]], None]
"""Sends a request through a handle; the completion gets the answer (0 or an errno)."""


def write(uri: str, gate: Gate | None, pieces: Sequence[tuple[int, bytes]], subject: str, seconds: float) -> None:
    """Write pieces (offset and data), and flush them; `subject` is the export in messages, `seconds` how long all of it
    may take. Raises UnreachableError, and OperationFailedError where the server refuses one."""
    deadline = time.monotonic() + seconds
    connection = endpoint.open_one(_way(uri, gate), subject, seconds)
    try:
        for offset, data in pieces:
            held = memoryview(data)
            _wait(
                connection,
                partial(_write, held, offset),
                f"{subject}: writing at byte {offset}",
                deadline,
                ErrorCode.DISK_WRITE_FAILED,
            )
        _wait(connection, _flush, f"{subject}: flushing", deadline, ErrorCode.DISK_WRITE_FAILED)
    finally:
        connection.close()


def read(uri: str, ranges: Sequence[tuple[int, int]], subject: str, seconds: float) -> list[bytes]:
    """Return what ranges (offset and length, bytes) hold. Raises as `write`."""
    deadline = time.monotonic() + seconds
    connection = endpoint.open_one(_way(uri, None), subject, seconds)
    try:
        found = [bytearray(length) for _, length in ranges]
        for (offset, _), buffer in zip(ranges, found, strict=True):
            _wait(
                connection,
                partial(_read, buffer, offset),
                f"{subject}: reading at byte {offset}",
                deadline,
                ErrorCode.DISK_READ_FAILED,
            )
        return [bytes(buffer) for buffer in found]
    finally:
        connection.close()


def _way(uri: str, gate: Gate | None) -> Callable[[], Connection]:
    if gate is None:
        return lambda: endpoint.dial(uri)
    from migratekit_core.engine.secured import SecuredHandle

    return lambda: Connection(SecuredHandle(gate))


def _write(data: memoryview, offset: int, handle: Any, completion: Callable[[Any], int]) -> None:
    handle.aio_pwrite(data, offset, completion)


def _flush(handle: Any, completion: Callable[[Any], int]) -> None:
    handle.aio_flush(completion=completion)


def _read(buffer: bytearray, offset: int, handle: Any, completion: Callable[[Any], int]) -> None:
    covered = Covered()

    def whole(answer: Any) -> int:
        lacking = not answer.value and covered.bytes != len(buffer)
        return completion(Answer(errno.EPROTO) if lacking else answer)

    handle.aio_pread_structured(memoryview(buffer), offset, covered.chunk, whole)


def _wait(connection: Connection, ask: Ask, what: str, deadline: float, code: ErrorCode) -> None:
    """Send a request and wait for its answer, in short turns: a signal is heard between them."""
    answers: list[int] = []

    def completed(answer: Any) -> int:
        answers.append(answer.value)
        return 1

    poller = Poller()
    try:
        ask(connection.handle, completed)
        while not answers:
            if connection.broken():
                raise endpoint.unreachable(what, connection.reason or "the connection has ended")
            if time.monotonic() > deadline:
                raise endpoint.unreachable(what, "no answer in time")
            poller.drive([connection], 0.1)
    except nbd.Error as error:
        raise endpoint.unreachable(what, error.string) from None
    if answers[0]:
        reason = connection.reason or os.strerror(answers[0])
        raise OperationFailedError(
            f"{what} failed", reason, "look at the exporter's log and at dmesg on the OMA", code=code
        )
