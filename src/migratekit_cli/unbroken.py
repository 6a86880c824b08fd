"""Nobody's reading on is no reason to stop half-way: what is written to a stderr that is gone is dropped."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class _Unbroken:
    """A text file whose reader may go (`2>&1 | head`, a terminal that was closed) without anything being raised."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write, or drop it."""
        try:
            self._file.write(text)
        except OSError as error:
            self._lost(error)
        return len(text)

    def flush(self) -> None:
        """Flush, or drop it."""
        try:
            self._file.flush()
        except OSError as error:
            self._lost(error)

    def _lost(self, error: OSError) -> None:
        """Write into nothing from now on where the reader is gone: Python ends with exit 120 if what it still holds
        cannot be flushed at the end."""
        if error.errno in (errno.EPIPE, errno.EIO):
            with suppress(OSError, ValueError):
                into_nothing(self._file.fileno())


@contextmanager
def unbroken_stderr() -> Iterator[None]:
    """Have progress and errors written where somebody reads them, and dropped where nobody does any more.

    A failover that cannot say how far it is goes on, and one that gives everything back does so to the end.
    """
    given = sys.stderr
    sys.stderr = cast(TextIO, _Unbroken(given))
    try:
        yield
    finally:
        sys.stderr = given


def reader_is_gone() -> bool:
    """Return whether nobody reads stdout any more; what is left of it then comes up no more, not at the end either."""
    try:
        number = sys.stdout.fileno()
        watched = select.poll()
        watched.register(number, 0)
        gone = any(events & (select.POLLERR | select.POLLHUP) for _, events in watched.poll(0))
    except (OSError, ValueError):
        return False
    if gone:
        into_nothing(number)
    return gone


def into_nothing(number: int) -> None:
    """Have a descriptor lead nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, number)
    os.close(nothing)
