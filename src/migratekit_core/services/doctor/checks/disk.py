"""Room on the file systems that this host writes to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.units import MIB, human_bytes
from migratekit_core.services.doctor.checks.settings import folders
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

ENOUGH, LEAST = 512 * MIB, 64 * MIB
"""Databases and logs grow; below the first it is time to look, below the second a run may fail on the way."""
SOCKETS = 1 * MIB
"""Where only sockets, a log and a pid are."""
INODES = 100


@check("disk.space", "disk space")
def space(site: Site) -> Iterator[Answer]:
    """Look how much room is left for databases, state and sockets."""
    places = [(name, path, name == "tunnel.runtime_dir") for name, path in folders(site.config).items()]
    for name, path, sockets in [*places, ("temporary files", Path(tempfile.gettempdir()), True)]:
        held = next((parent for parent in (path, *path.parents) if parent.exists()), path)
        usage = os.statvfs(held)
        free, total = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
        enough, least = (SOCKETS, SOCKETS) if sockets else (ENOUGH, LEAST)
        found = f"{human_bytes(free)} free of {human_bytes(total)} at {held}"
        todo = f"free space there, or move {name}"
        if free < least:
            yield failed(f"room for {name}", found, todo, OperationFailedError.exit_code)
        elif usage.f_files > 0 and usage.f_favail < INODES:
            left = f"{usage.f_favail} files more can be made at {held}"
            yield failed(f"room for {name}", left, todo, OperationFailedError.exit_code)
        elif free < enough:
            yield warning(f"room for {name}", found, todo)
        else:
            yield ok(f"room for {name}", found)
