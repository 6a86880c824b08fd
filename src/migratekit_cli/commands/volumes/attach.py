"""migratekit volumes attach"""

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
    vm: Annotated[
        str | None, typer.Option("--vm", help="CloudStack's id of the machine to attach it to, instead of the OMA.")
    ] = None,
    device: Annotated[
        int | None, typer.Option("--device", min=0, max=63, help="Position on the machine; 0 is the root disk.")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Attach a volume to the OMA, and find its device; or to another machine."""
    from migratekit_core.volumed import changes

    carry_out(context, lambda client: changes.plan_attach(client, volume, vm, device), dry_run, yes, output)
