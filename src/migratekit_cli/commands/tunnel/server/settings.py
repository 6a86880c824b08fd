"""What the OMA's end is told: by the configuration, and by options."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.session import configuration
from migratekit_core.common.errors import MigrateKitError

if TYPE_CHECKING:
    from migratekit_core.config.schema import Config, TunnelServer


CertOption = Annotated[Path | None, typer.Option("--cert", help="The OMA's certificate with its key, in one PEM file.")]
CaOption = Annotated[Path | None, typer.Option("--ca", help="The CA that clients' certificates are checked with.")]
CrlOption = Annotated[Path | None, typer.Option("--crl", help="The CA's list of revoked certificates.")]
ListenOption = Annotated[str | None, typer.Option("--listen", help="Address and port to listen on.")]
VolumesOption = Annotated[str | None, typer.Option("--volumes", help="Address of the volume daemon.")]
AdminOption = Annotated[
    Path | None, typer.Option("--admin", help="HAProxy's socket for administration, to be made or asked.")
]
DbOption = Annotated[str | None, typer.Option("--db", help="Address of MariaDB.")]
NbdOption = Annotated[str | None, typer.Option("--nbd", help="Address of the NBD exports.")]


def config_or_defaults(context: typer.Context) -> Config:
    """Return the configuration; where this user may not read it (an OMA's SSH user), the defaults."""
    from migratekit_core.config.schema import Config

    try:
        return configuration(context)
    except (MigrateKitError, PermissionError):
        if context.obj.config is not None:
            raise
        return Config()


def settings_of(
    context: typer.Context,
    certificate: Path | None = None,
    ca: Path | None = None,
    crl: Path | None = None,
    listen: str | None = None,
    volumes: str | None = None,
    db: str | None = None,
    nbd: str | None = None,
    admin: Path | None = None,
) -> TunnelServer:
    """Return the table tunnel.server; what is given wins over it."""
    from migratekit_core.config.load import tunnel_server

    given = {
        "cert_file": certificate, "ca_file": ca, "crl_file": crl, "listen": listen,
        "volumes": volumes, "db": db, "nbd": nbd, "stats_socket": admin,
    }  # fmt: skip
    return tunnel_server(configuration(context), {name: value for name, value in given.items() if value is not None})
