"""Nobody's reading on is no reason to stop half-way: what is written to a stderr that is gone is dropped."""

from __future__ import annotations

import errno
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TextIO, cast


class _Unbroken:
    """A text file whose reader may go (`2>&1 | head`, a terminal that was closed) without anything being raised."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._lock = threading.RLock()
        self._only: int | None = None
        """The thread that alone writes, where there is one."""
        self._kept: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Write, or drop it, or keep it for later."""
        with self._lock:
            if self._only not in (None, threading.get_ident()):
                self._kept.append(text)
                return len(text)
            try:
                self._file.write(text)
            except OSError as error:
                self._lost(error)
        return len(text)

    @contextmanager
    def others_wait(self) -> Iterator[None]:
        """Keep what other threads write until the block ends."""
        with self._lock:
            before, self._only = self._only, threading.get_ident()
        try:
            yield
        finally:
            with self._lock:
                self._only = before
                kept, self._kept = self._kept, []
                self.write("".join(kept))
                self.flush()

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


_unbroken: list[_Unbroken] = []
"""What has stderr now, the innermost last."""


@contextmanager
def others_wait() -> Iterator[None]:
    """Have this thread alone write to stderr in this block; what others write comes when it ends."""
    with _unbroken[-1].others_wait() if _unbroken else nullcontext():
        yield


@contextmanager
def unbroken_stderr() -> Iterator[None]:
    """Have progress and errors written where somebody reads them, and dropped where nobody does any more.

    A failover that cannot say how far it is goes on, and one that gives everything back does so to the end.
    """
    given = sys.stderr
    _unbroken.append(_Unbroken(given))
    sys.stderr = cast(TextIO, _unbroken[-1])
    try:
        yield
    finally:
        _unbroken.pop()
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
