"""Limits how many disks are read from one ESXi host at once, by all commands of this machine.

Each VDDK connection takes memory of the host's NFC service, which other tools need, too. A slot is a locked file: the
kernel frees it however its holder ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError

LOOK_SECONDS = 0.2


@contextmanager
def slot(host: str, most: int, waiting: Callable[[], None], stopped: Callable[[], bool]) -> Iterator[None]:
    """Hold one of `most` slots of a host as long as the block runs; wait until there is one.

    `waiting` is called once where none is free. Raises KeyboardInterrupt where `stopped` says so while it waits.
    """
    folder = _folder()
    name = _plain(host)
    told = False
    while True:
        for number in range(most):
            descriptor = _try(folder / f"{name}.{number}")
            if descriptor is None:
                continue
            try:
                yield
            finally:
                os.close(descriptor)
            return
        if stopped():
            raise KeyboardInterrupt
        if not told:
            waiting()
            told = True
        time.sleep(LOOK_SECONDS)


@contextmanager
def grant(name: str, wanted: int, most: int, waiting: Callable[[], None], stopped: Callable[[], bool]) -> Iterator[int]:
    """Hold up to `wanted` of `most` as long as the block runs, and yield how many; at least one, which is waited for.

    Who comes gets half of what is free at most, so that others get some, too. Raises KeyboardInterrupt where `stopped`
    says so while it waits.
    """
    folder = _folder()
    with ExitStack() as held, slot(name, most, waiting, stopped):
        free = list[int]()
        for number in range(most):
            taken = _try(folder / f"{_plain(name)}.{number}")
            if taken is not None:
                free.append(taken)
        keep = min(wanted, max(1, (len(free) + 1) // 2)) - 1
        for count, descriptor in enumerate(free):
            if count < keep:
                held.callback(os.close, descriptor)
            else:
                os.close(descriptor)
        yield min(keep, len(free)) + 1


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "_", name)


def _try(path: Path) -> int | None:
    """Lock a file and return its descriptor; None where somebody else has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _folder() -> Path:
    """Return our own folder, the same for all commands of this user: elsewhere others could hold our slots."""
    base = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(base) / f"migratekit-sessions-{os.geteuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
        raise PreconditionError(
            f"{folder} cannot be used",
            "it belongs to somebody else, or others may write in it",
            "remove it",
            code=ErrorCode.FILE_NOT_PRIVATE,
            facts={"path": str(folder)},
        )
    return folder
