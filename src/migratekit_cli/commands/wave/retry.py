"""migratekit wave retry"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from migratekit_cli.commands.wave.waveask import MachinesOption, WaveArgument, ask, some
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.waves.asks import Asked


@reported
def command(
    context: typer.Context,
    wave: WaveArgument,
    vm: MachinesOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put machines that failed, were skipped, cancelled or rolled back to where they were before, for the next run.

    A run that goes on takes them up by itself. Of a whole wave it also takes back that it was cancelled.
    """
    from migratekit_core.services.waves import asks

    def told(asked: Asked) -> list[str]:
        if not asked.changed:
            return [f"wave {wave} has nothing to try again"]
        return [
            f"to be tried again: {some(asked.machines)}" if asked.machines else f"wave {wave} is not cancelled any more"
        ]

    def request(opened: Runtime, plan: bool) -> Asked:
        return asks.retry(opened.databases.oma, wave, vm or (), dry_run=plan)

    ask(context, wave, "retry", request, told, output, dry_run)
