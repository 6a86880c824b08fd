"""migratekit volumes unexport"""

from __future__ import annotations

import typer

from migratekit_cli.commands.volumes.change import carry_out
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VolumeArgument, YesOption


@reported
def command(
    context: typer.Context,
    volume: VolumeArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a volume's export back; refused (exit 8) while somebody is connected."""
    from migratekit_core.volumed import changes

    carry_out(context, lambda client: changes.plan_unexport(client, volume), dry_run, yes, output)
