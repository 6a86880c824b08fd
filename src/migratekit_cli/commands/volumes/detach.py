"""migratekit volumes detach"""

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
    """Detach a volume from whatever it is attached to; refused while it is exported."""
    from migratekit_core.volumed import changes

    carry_out(context, lambda client: changes.plan_detach(client, volume), dry_run, yes, output)
