"""migratekit wave cancel"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from migratekit_cli.commands.wave.waveask import MachinesOption, WaveArgument, ask, some
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.ui.ask import confirm

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.services.waves.asks import Asked


@reported
def command(
    context: typer.Context,
    wave: WaveArgument,
    vm: MachinesOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop a wave, or single machines of it: what waits is not begun, what runs is stopped where it safely can be.

    Copies leave checkpoints, replicas stay, and what was cut over stays so. `wave retry` takes it up again.
    """
    from migratekit_core.services.waves import asks

    what = f"{', '.join(vm)} in wave {wave}" if vm else f"wave {wave}"

    def told(asked: Asked) -> list[str]:
        lines = [f"{what}: cancelled" if asked.changed else f"{what}: nothing to cancel"]
        lines += [f"not begun: {some(asked.machines)}"] if asked.machines else []
        return lines + ([f"being stopped: {some(asked.running)}"] if asked.running else [])

    def request(opened: Runtime, plan: bool) -> Asked:
        return asks.cancel(opened.databases.oma, wave, vm or (), dry_run=plan)

    ask(context, wave, "cancel", request, told, output, dry_run, lambda: confirm(f"Cancel {what}?", yes))
