"""Finds the programs that MigrateKit starts. Debian keeps some in sbin, which is not on everybody's PATH."""

from __future__ import annotations

import os
import shutil

from migratekit_core.common.errors import PreconditionError

ALSO = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def find(name: str, package: str) -> str:
    """Return the path of a program. Raises PreconditionError, naming its Debian package, where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), ALSO]))
    if found is None:
        raise PreconditionError(
            f"{name} is not installed", "it is nowhere on the PATH", f"run: apt-get install {package}"
        )
    return found
