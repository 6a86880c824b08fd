"""Files that nobody else may read."""

from __future__ import annotations

import os
import threading
from pathlib import Path

PRIVATE = 0o600


def write_private(path: Path, content: str | bytes, owner: tuple[int, int] | None = None) -> None:
    """Replace a file's content, mode 0600 from the first moment on; a reader never sees half of it.

    `owner` is a user's and a group's id, where the file is to be somebody else's than ours.
    """
    data = content.encode() if isinstance(content, str) else content
    # A name of this thread's own: two that write the same file must not take each other's away.
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            if owner is not None:
                os.fchown(descriptor, *owner)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
