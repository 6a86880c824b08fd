"""migratekit tunnel server render"""

from __future__ import annotations

import typer

from migratekit_cli.commands.tunnel.server.settings import (
    CaOption,
    CertOption,
    CrlOption,
    DbOption,
    ListenOption,
    NbdOption,
    VolumesOption,
    settings_of,
)
from migratekit_cli.errors import reported


@reported
def command(
    context: typer.Context,
    certificate: CertOption = None,
    ca: CaOption = None,
    crl: CrlOption = None,
    listen: ListenOption = None,
    volumes: VolumesOption = None,
    db: DbOption = None,
    nbd: NbdOption = None,
) -> None:
    """Print HAProxy's configuration for the OMA: of the table tunnel.server, or of these options."""
    from migratekit_core.adapters.tunnel.server import render as render_server

    typer.echo(render_server(settings_of(context, certificate, ca, crl, listen, volumes, db, nbd)), nl=False)
