"""migratekit volumes daemon unit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.session import Globals

SYSTEM_CONFIG = Path("/etc/migratekit/config.toml")


@reported
def command(
    context: typer.Context,
    exporter: Annotated[bool, typer.Option("--exporter", help="The exporter's unit instead of the daemon's.")] = False,
) -> None:
    """Print a hardened systemd unit that starts this installation's daemon, with --config's file or the system's."""
    from migratekit_core.volumed import run

    chosen: Globals = context.obj
    name = run.EXPORTER_UNIT if exporter else run.UNIT
    typer.echo(run.unit((chosen.config or SYSTEM_CONFIG).absolute(), name), nl=False)
