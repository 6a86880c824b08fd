"""What takes long to make and is always the same: made once, by whoever comes first; the others wait for it."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path


def made_once(path: Path, make: Callable[[Path], None]) -> Path:
    """Return `path`, a file or folder; where it is not there, have `make` make it elsewhere, and move it there.

    Several test workers start at once, and each wants it: one makes it, under a lock that a killed one lets go of.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return path
        new = path.with_name(f"{path.name}.new")
        if new.is_dir():
            shutil.rmtree(new)
        new.unlink(missing_ok=True)
        make(new)
        new.rename(path)
    return path
