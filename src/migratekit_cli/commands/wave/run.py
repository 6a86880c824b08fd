"""migratekit wave run"""

from __future__ import annotations

import time
from typing import Annotated

import typer

from migratekit_cli.commands.wave import waverun
from migratekit_cli.commands.wave.waverun import DetachOption, ReplaceOption, WaveArgument
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.render import count
from migratekit_core.common.units import human_bytes, human_rate


@reported
def command(
    context: typer.Context,
    wave: WaveArgument,
    again: Annotated[
        bool, typer.Option("--again", help="Also machines that are replicated: bring their replicas up to date.")
    ] = False,
    replace: ReplaceOption = False,
    detach: DetachOption = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replicate all machines of a wave: on the fleet, or without one by this command itself. Both can be run again.

    Ctrl-C: the fleet goes on; without one copies stop at a checkpoint. `wave pause`, `wave resume` and `wave cancel`
    work from any terminal.
    """
    from migratekit_core.db.schema import require_schema

    began = time.monotonic()
    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        from migratekit_core.services.fleet import phases
        from migratekit_core.services.fleet.runs import Asked

        chosen = waverun.choose(opened, wave, replace=replace, keep=not dry_run)
        if dry_run:
            _plan(opened.config.fleet.scheduler, chosen, output)
            return
        if not waverun.ask(opened, chosen, Asked(phases.RUN, again=again), detach, output):
            return
        with waverun.driven(context, opened, chosen.name) as check:
            done = waverun.follow(opened, chosen.name, check, lambda _: False, output)
        waverun.finish(opened, done, time.monotonic() - began, output, "migratekit.wave-run/1")


def _plan(scheduler: str | None, chosen: waverun.Chosen, output: Output) -> None:
    wave, limits = chosen.wave, chosen.wave.limits
    most = {"host": limits.esxi_host, "datastore": limits.datastore, "vcenter": limits.vcenter, "oma": limits.oma}
    told = [f"{number} for each {name}" for name, number in most.items() if number is not None]
    told += [f"{limits.oma_disks} disks for each oma"] if limits.oma_disks else []
    at_a_time = ", ".join(told)
    size = sum(machine.data_bytes for machine in wave.machines)
    lines = [
        f"wave {chosen.name}: {count(len(wave.machines), 'machine')}, about {human_bytes(size)}",
        f"  by {f'the fleet of {scheduler}' if scheduler else 'this command, on this host'}",
        f"  machines at a time: {at_a_time or 'no limit'}",
        f"  bandwidth: {human_rate(limits.bandwidth) if limits.bandwidth else 'no limit'}",
        *(f"  {number}. {machine.name}" for number, machine in enumerate(wave.machines, 1)),
    ]
    data = {
        "wave": chosen.name,
        "scheduler": scheduler,
        "limits": {**most, "bandwidth": limits.bandwidth},
        "data_bytes": size,
        "machines": [machine.name for machine in wave.machines],
    }
    render.result(output, "migratekit.wave-run-plan/1", data, text="\n".join(lines))
