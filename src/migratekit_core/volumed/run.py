"""The daemon for the command line, which must not know its insides: start it, replace its token, show its unit."""

from __future__ import annotations

import sys
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from migratekit_core.config import Config
from migratekit_core.config.load import require

UNIT, EXPORTER_UNIT = "migratekit-volumed.service", "migratekit-exporter.service"


def serve(config: Config) -> None:
    """Run the volume daemon until SIGTERM; see `migratekit_core.volumed.daemon.serve`."""
    from migratekit_core.volumed.daemon.serve import serve as run

    run(config)


def serve_exports(config: Config) -> None:
    """Keep the NBD exporter running until SIGTERM; see `migratekit_core.volumed.daemon.exports.unit`."""
    from migratekit_core.volumed.daemon.exports.unit import serve as run

    require(config, "daemon")
    assert config.daemon is not None, "require has seen to it"
    run(config.daemon)


def rotate_token(config: Config, overlap: float) -> tuple[Path, datetime]:
    """Make a new token, the old one holding for `overlap` more seconds; return its file, and until when (UTC).

    Raises UsageError for a configuration without [daemon], and as `token.rotate` does.
    """
    from migratekit_core.volumed.daemon.token import rotate

    require(config, "daemon")
    assert config.daemon is not None, "require has seen to it"
    return config.daemon.token_file, rotate(config.daemon.token_file, overlap)


def unit(config_file: Path, name: str = UNIT) -> str:
    """Return the systemd unit that starts this installation's daemon, or exporter, with a configuration file."""
    text = files("migratekit_core.volumed").joinpath(name).read_text(encoding="utf-8")
    command = Path(sys.executable).with_name("migratekit")
    return text.replace("@MIGRATEKIT@", str(command)).replace("@CONFIG@", str(config_file))
