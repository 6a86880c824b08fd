"""migratekit volumes show"""

from __future__ import annotations

import typer

from migratekit_cli.commands.volumes.change import shown
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption, VolumeArgument
from migratekit_cli.session import runtime
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, volume: VolumeArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a volume: as CloudStack has it, as Linux has it, its export, its snapshots."""
    from migratekit_core.volumed import changes

    with runtime(context) as opened:
        client = opened.volumes()
        listed = changes.find(client, volume)
        found = client.get(listed["id"]) or listed
    table = render.Table("FIELD", "VALUE")
    for name, value in found.items():
        table.add(name, shown(name, value))
    render.result(output, "migratekit.volume/1", {"volume": found}, table)
