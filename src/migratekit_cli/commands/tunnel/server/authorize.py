"""migratekit tunnel server authorize"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.commands.tunnel.server.settings import config_or_defaults
from migratekit_cli.errors import reported
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError


@reported
def command(
    context: typer.Context,
    key: Annotated[Path, typer.Argument(metavar="KEY.pub", help="The VMA's public SSH key.")],
    command: Annotated[Path, typer.Option("--migratekit", help="This program, as the OMA's user finds it.")] = Path(
        "/usr/local/bin/migratekit"
    ),
) -> None:
    """Print the line of authorized_keys that lets a key reach the three services, and nothing else."""
    from migratekit_core.adapters.tunnel.ssh.server import FACTS, authorized_line

    config = config_or_defaults(context)
    services = config.tunnel.server or config.tunnel.services
    try:
        text = key.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{key} cannot be read",
            str(error),
            "name the .pub file",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(key)},
        ) from None
    typer.echo(authorized_line(text.strip(), services.addresses, f"{command} {FACTS}"))
