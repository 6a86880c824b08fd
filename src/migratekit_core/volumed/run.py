"""The daemon for the command line, which must not know its insides: start it, replace its token, show its unit."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from migratekit_core.config import Config
from migratekit_core.config.load import require

if TYPE_CHECKING:
    from migratekit_core.volumed.filters.install import Plan

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


def plan_filters(also: Iterable[Path]) -> Plan:
    """Return what keeps this machine's Linux from activating what is in replicas; `also` are further disks of its own.

    Raises as `migratekit_core.volumed.filters.install.plan` does.
    """
    from migratekit_core.volumed.filters.install import plan
    from migratekit_core.volumed.filters.own import unfit, volume_groups
    from migratekit_core.volumed.filters.places import Linux

    if volume_groups(Linux()):
        # Seen in tests/lab/oma_guest: pvscan, which udev starts before it makes a disk's links, does not know an own
        # disk by its filter, and a volume group that the initramfs does not activate stays inactive at the next boot.
        raise unfit(
            "the filters are not for an OMA whose own system lies on LVM yet",
            "at its next start it would wait for its own volume groups in vain",
        )
    return plan(Linux(), also)


def write_filters(todo: Plan) -> None:
    """Do what `plan_filters` returned. Raises as `migratekit_core.volumed.filters.install.carry_out` does."""
    from migratekit_core.volumed.filters.install import carry_out
    from migratekit_core.volumed.filters.places import Linux

    carry_out(Linux(), todo)


def unit(config_file: Path, name: str = UNIT) -> str:
    """Return the systemd unit that starts this installation's daemon, or exporter, with a configuration file."""
    text = files("migratekit_core.volumed").joinpath(name).read_text(encoding="utf-8")
    command = Path(sys.executable).with_name("migratekit")
    return text.replace("@MIGRATEKIT@", str(command)).replace("@CONFIG@", str(config_file))
