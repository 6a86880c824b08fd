"""migratekit volumes export"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.commands.volumes.change import carry_out
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VolumeArgument, YesOption


@reported
def command(
    context: typer.Context,
    volume: VolumeArgument,
    vm_name: Annotated[str, typer.Option("--vm-name", help="Machine that the export is named after.")] = "manual",
    disk: Annotated[str, typer.Option("--disk", help="Disk that the export is named after.")] = "0",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Export a volume of the OMA over NBD, on loopback, under a name that cannot be guessed."""
    from migratekit_core.volumed import changes

    carry_out(context, lambda client: changes.plan_export(client, volume, vm_name, disk), dry_run, yes, output)
