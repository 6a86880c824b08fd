"""migratekit tunnel pki issue"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.commands.tunnel.pki.folder import DEFAULT_FOLDER, FolderOption, written
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError


@reported
def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Host's name; the file will be NAME.pem.")],
    server: Annotated[bool, typer.Option("--server", help="For an OMA; without it, for a VMA.")] = False,
    also: Annotated[list[str] | None, typer.Option("--also", help="A further name or address; repeatable.")] = None,
    fleet: Annotated[
        str,
        typer.Option(
            "--fleet",
            metavar="ROLE",
            help="Its part in a fleet, too: scheduler, worker or client. Who has one may run code on every worker.",
        ),
    ] = "",
    folder: FolderOption = DEFAULT_FOLDER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue a certificate for a further host, of a tunnel or a fleet."""
    from migratekit_core.adapters.tunnel import SERVICES, pki

    if server and fleet:
        raise UsageError(
            "--server and --fleet exclude each other",
            "an OMA is no part of a fleet",
            "pass one of them",
            code=ErrorCode.USAGE,
        )
    names = [*(SERVICES if server else ()), *(also or [])]
    path = pki.issue(folder, name, server=server, names=names, fleet=fleet)
    written(output, path, f"{path}\ncopy it to {name}, mode 0600")
