"""Where files of MigrateKit's own are, as configured or by default."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from migratekit_core.config.schema import Database, Tunnel


def runtime_dir(tunnel: Tunnel) -> Path:
    """Return the folder of the tunnel's local ends."""
    if tunnel.runtime_dir is not None:
        return tunnel.runtime_dir
    if os.environ.get("XDG_RUNTIME_DIR"):
        return Path(os.environ["XDG_RUNTIME_DIR"]) / "migratekit"
    if os.geteuid() == 0:
        return Path("/run/migratekit")
    return Path(tempfile.gettempdir()) / f"migratekit-{os.geteuid()}"


def socket_path(tunnel: Tunnel, service: str) -> Path:
    """Return the unix socket that leads to a service of the OMA."""
    return runtime_dir(tunnel) / f"{service}.sock"


def sqlite_dir(database: Database) -> Path:
    """Return the folder of SQLite files."""
    if database.directory is not None:
        return database.directory
    return state_folder()


def state_folder() -> Path:
    """Return where this user's files are that no setting names: $XDG_STATE_HOME/migratekit."""
    state = os.environ.get("XDG_STATE_HOME") or Path("~").expanduser() / ".local" / "state"
    return Path(state) / "migratekit"
