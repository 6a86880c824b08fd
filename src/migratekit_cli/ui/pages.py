"""Writes a report: one HTML file, for its owner only."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from migratekit_core.common.errors import UsageError


def write(path: Path, made: datetime, document: Callable[[datetime, str], str]) -> None:
    """Write what `document` makes of the time and our version, and say where. Raises UsageError where it cannot be."""
    from importlib.metadata import version

    from migratekit_core.common.files import write_private

    page = document(made, version("migratekit"))
    try:
        write_private(path, page)
    except OSError as error:
        raise UsageError(
            f"report {path} cannot be written", error.strerror or str(error), "name another file"
        ) from None
    sys.stderr.write(f"report: {path}\n")
