"""migratekit tunnel down"""

from __future__ import annotations

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import configuration
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Stop the local end."""
    from migratekit_core.adapters.tunnel import local

    stopped = local.down(configuration(context).tunnel)
    text = "tunnel stopped" if stopped else "tunnel was not up"
    render.result(output, "migratekit.tunnel-down/1", {"stopped": stopped}, text=text)
