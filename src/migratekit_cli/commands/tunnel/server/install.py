"""migratekit tunnel server install"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

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
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm


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
    user: Annotated[str, typer.Option("--user", help="User that HAProxy runs as.")] = "migratekit",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a validated configuration and a unit of its own, and start it; to repeat it changes nothing."""
    from migratekit_core.adapters.tunnel.install import install as set_up

    settings = settings_of(context, certificate, ca, crl, listen, volumes, db, nbd)
    planned = set_up(settings, dry_run=True, user=user)
    if not dry_run and any(change.change == "write" for change in planned):
        confirm(f"Have HAProxy listen on {settings.listen}, and start it anew?", yes)
    done = planned if dry_run else set_up(settings, dry_run=False, user=user)
    table = render.Table("What", "Plan" if dry_run else "Done")
    for change in done:
        table.add(change.what, "skipped: systemd does not run here" if change.change == "skip" else change.change)
    data = {"dry_run": dry_run, "changes": [asdict(change) for change in done]}
    render.result(output, "migratekit.tunnel-server-install/1", data, table=table)
