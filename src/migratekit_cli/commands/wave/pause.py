"""migratekit wave pause"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from migratekit_cli.commands.wave.waveask import WaveArgument, ask, some
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.waves.asks import Asked


@reported
def command(
    context: typer.Context, wave: WaveArgument, dry_run: DryRunOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Have no further machine of a wave begun; what runs goes on to its end. Any host that reaches the database can."""
    from migratekit_core.services.waves import asks

    def told(asked: Asked) -> list[str]:
        first = f"wave {wave} is paused" if asked.changed else f"wave {wave} was paused already"
        return [first, f"{some(asked.running)} still at work" if asked.running else "nothing runs"]

    def request(opened: Runtime, plan: bool) -> Asked:
        return asks.pause(opened.databases.oma, wave, dry_run=plan)

    ask(context, wave, "pause", request, told, output, dry_run)
