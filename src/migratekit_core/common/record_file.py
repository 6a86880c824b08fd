"""A file of lines that several processes add to, each line whole, and each with its number in it."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.files import PRIVATE

LOCK_SECONDS = 2.0
"""How long another process may hold the file before a line is given up."""
BEGINNING = b'{"'
"""How a recording begins; nothing is added to another file."""
CHUNK = 1 << 20


class LineFile:
    """A file of this user, mode 0600 where it is made here."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError where it cannot be written, is no file of this user, or is no recording."""
        self._file = _open(path)
        self._adding = threading.Lock()
        self._read, self._ends = 0, 0
        """How many bytes of the file were looked at, and how many lines end in them."""

    def add(self, line: Callable[[int], str]) -> None:
        """Add what `line` makes of its number, which counts from 1. Raises OSError; then nothing is added."""
        with self._adding, self._alone():
            end = self._count()
            # Whoever was killed in mid-line: what it had written is a line of its own.
            torn = end > 0 and os.pread(self._file, 1, end - 1) != b"\n"
            data = b"\n" * torn + line(self._ends + torn + 1).encode() + b"\n"
            try:
                while data:
                    data = data[os.write(self._file, data) :]
            except OSError:
                os.ftruncate(self._file, end)
                raise

    def _count(self) -> int:
        """Count the lines that were added since; return the file's size."""
        end = os.fstat(self._file).st_size
        while self._read < end:
            data = os.pread(self._file, min(CHUNK, end - self._read), self._read)
            if not data:
                break
            self._ends += data.count(b"\n")
            self._read += len(data)
        return end

    @contextmanager
    def _alone(self) -> Iterator[None]:
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise TimeoutError("another process holds the file") from None
                time.sleep(0.01)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    """Open a file to add to it, or make it; return its descriptor. Raises UsageError."""
    common = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        try:
            return os.open(path, common | os.O_CREAT | os.O_EXCL, PRIVATE)
        except FileExistsError:
            descriptor = os.open(path, common)
    except OSError as error:
        raise _refused(path, error.strerror or str(error)) from None
    held = os.fstat(descriptor)
    problem = ""
    if not stat.S_ISREG(held.st_mode) or held.st_uid != os.geteuid():
        problem = "it is no regular file of this user"
    elif held.st_size and os.pread(descriptor, len(BEGINNING), 0) != BEGINNING:
        problem = "it holds something else than a recording"
    if problem:
        os.close(descriptor)
        raise _refused(path, problem)
    return descriptor


def _refused(path: Path, why: str) -> UsageError:
    return UsageError(
        f"cannot record into {path}",
        why,
        "name another file: --record FILE",
        code=ErrorCode.FILE_UNWRITABLE,
        facts={"path": str(path)},
    )
