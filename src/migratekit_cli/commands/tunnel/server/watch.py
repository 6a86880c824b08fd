"""migratekit tunnel server watch"""

from __future__ import annotations

import signal
import threading

import typer

from migratekit_cli.commands.tunnel.server.settings import AdminOption, CaOption, CertOption, CrlOption, settings_of
from migratekit_cli.errors import reported


@reported
def command(
    context: typer.Context,
    certificate: CertOption = None,
    ca: CaOption = None,
    crl: CrlOption = None,
    admin: AdminOption = None,
) -> None:
    """End connections whose certificate has expired or was revoked, within 15 seconds, until SIGTERM.

    A list of revoked certificates (tunnel.server.crl_file) that has changed is handed to HAProxy without a restart.
    """
    from migratekit_core.adapters.tunnel.watch import Watch

    settings, stopping = settings_of(context, certificate, ca, crl, admin=admin), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    Watch(settings, lambda line: typer.echo(line, err=True)).run(stopping)
