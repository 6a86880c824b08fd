"""migratekit volumes daemon unit"""

from __future__ import annotations

from pathlib import Path

import typer

from migratekit_cli.errors import reported
from migratekit_cli.session import Globals

SYSTEM_CONFIG = Path("/etc/migratekit/config.toml")


@reported
def command(context: typer.Context) -> None:
    """Print a hardened systemd unit that starts this installation's daemon, with --config's file or the system's."""
    from migratekit_core.volumed.run import unit as render_unit

    chosen: Globals = context.obj
    typer.echo(render_unit((chosen.config or SYSTEM_CONFIG).absolute()), nl=False)
