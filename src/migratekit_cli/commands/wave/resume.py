"""migratekit wave resume"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from migratekit_cli.commands.wave.waveask import WaveArgument, ask
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.waves.asks import Asked


@reported
def command(
    context: typer.Context, wave: WaveArgument, dry_run: DryRunOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Have machines of a paused wave begun again, by the run that waits."""
    from migratekit_core.services.waves import asks

    def told(asked: Asked) -> list[str]:
        return [f"wave {wave} goes on" if asked.changed else f"wave {wave} was not paused"]

    def request(opened: Runtime, plan: bool) -> Asked:
        return asks.resume(opened.databases.oma, wave, dry_run=plan)

    ask(context, wave, "resume", request, told, output, dry_run)
