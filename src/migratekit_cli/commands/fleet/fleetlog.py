"""What the long-running parts of a fleet say: a line with a time on stderr, for the journal."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING

from migratekit_cli.ui import plain
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError

if TYPE_CHECKING:
    from migratekit_core.config import Config


def note(message: str) -> None:
    """Write a line."""
    plain.err(f"{datetime.now():%H:%M:%S} {message}")
    sys.stderr.flush()


def require_certificates(config: Config, *, scheduler: bool = True) -> None:
    """Raise UsageError unless [fleet] says who we are, and with `scheduler` where the scheduler is."""
    names = ("ca_file", "cert_file", *(("scheduler",) if scheduler else ()))
    missing = [name for name in names if getattr(config.fleet, name) is None]
    if missing:
        raise UsageError(
            f"configuration has no fleet.{missing[0]}", "the parts of a fleet know each other by certificates",
            "write [fleet]: docs/fleet.md has a complete example",
            code=ErrorCode.CONFIG_MISSING, facts={"setting": f"fleet.{missing[0]}"})  # fmt: skip
