"""migratekit tunnel up"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.commands.tunnel.configured import configured
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Bring the local end up. Commands that need it do so by themselves, and share it."""
    from migratekit_core.adapters.tunnel import local

    status = local.up(configured(context).tunnel)
    render.result(output, "migratekit.tunnel/1", asdict(status), text=f"tunnel to {status.remote} is up ({status.pid})")
