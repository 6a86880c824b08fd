"""Folders for the sockets of readers: private, short enough for a socket, and none left by a run that was killed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError

LONGEST_PATH = 107
"""Bytes of a unix socket's path (unix(7): sun_path has 108 with the zero at its end)."""
LONGEST_NAME = len("/image.sock")
"""Of what readers put into their folder."""
LAST_RESORT = "/tmp"  # noqa: S108 - the folder in it is made by mkdtemp, mode 0700
FRESH_SECONDS = 60.0
"""A folder this young may be one that its owner has made and not locked yet."""


@contextmanager
def private_folder(prefix: str) -> Iterator[Path]:
    """A folder of mode 0700 in the runtime directory, removed with everything in it at the end.

    What runs that were killed have left of the same prefix is removed at the beginning.
    Raises PreconditionError where no folder is short enough for a socket.
    """
    name = f"migratekit-{prefix}-"
    base = _base(name)
    _sweep(base, name)
    with tempfile.TemporaryDirectory(prefix=name, dir=base) as folder:
        # The lock ends with this process, however that ends; the folder of one that is locked is in use.
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield Path(folder)
        finally:
            os.close(descriptor)


def _base(name: str) -> str:
    """Return the first directory in which a socket's path is not too long for the kernel."""
    bases = [base for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), LAST_RESORT) if base]
    for base in bases:
        # mkdtemp adds eight characters.
        if len(os.fsencode(base)) + 1 + len(name) + 8 + LONGEST_NAME <= LONGEST_PATH and os.access(base, os.W_OK):
            return base
    raise PreconditionError(
        "there is no folder for the sockets of source readers",
        f"too long a path for a socket, or not writable: {', '.join(bases)}",
        "set XDG_RUNTIME_DIR or TMPDIR to a short path that this user may write to",
        code=ErrorCode.FILE_UNWRITABLE,
    )


def _sweep(base: str, name: str) -> None:
    for folder in Path(base).glob(f"{name}*"):
        with contextlib.suppress(OSError):
            about = folder.lstat()
            if about.st_uid != os.geteuid() or time.time() - about.st_mtime < FRESH_SECONDS:
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
