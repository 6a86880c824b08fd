"""Finds the programs that MigrateKit starts. Debian keeps some in sbin, which is not on everybody's PATH."""

from __future__ import annotations

import os
import shutil
import subprocess

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError

ALSO = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
PRINT_SECONDS = 10.0


def find(name: str, package: str) -> str:
    """Return the path of a program. Raises PreconditionError, naming its Debian package, where it is not installed."""
    found = shutil.which(name) or shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), ALSO]))
    if found is None:
        raise PreconditionError(
            f"{name} is not installed",
            "it is nowhere on the PATH",
            f"run: apt-get install {package}",
            code=ErrorCode.NOT_INSTALLED,
            facts={"program": name, "package": package},
        )
    return found


def printed(name: str, *arguments: str, seconds: float = PRINT_SECONDS) -> str | None:
    """Return what a program prints; None where it is missing, fails, or takes longer."""
    try:
        done = subprocess.run(
            [find(name, name), *arguments],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (PreconditionError, OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
