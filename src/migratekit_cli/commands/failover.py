"""migratekit failover"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VmArgument, YesOption
from migratekit_cli.render import named
from migratekit_cli.session import confirm, runtime
from migratekit_core.units import human_seconds


@reported
def failover(
    context: typer.Context,
    vm: VmArgument,
    power_off: Annotated[
        bool, typer.Option("--power-off", help="Power the source off where its guest does not shut down.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cut a machine over: shut the source down, sync once more, and start it in CloudStack."""
    from migratekit_core.failover import live

    with runtime(context) as opened:
        plan = live.plan(opened, vm, power_off) if dry_run or not yes else None
        if plan is not None:
            lines = [f"{plan.vm_name} becomes {plan.destination_name} in CloudStack"]
            lines += [f"  network {source} → {target}" for source, target in plan.networks.items()]
            lines += [f"  {number}. {step}" for number, step in enumerate(plan.steps, 1)]
            if dry_run:
                render.result(output, "migratekit.failover-plan/1", named(asdict(plan)), text="\n".join(lines))
                return
            typer.echo("\n".join(lines), err=True)
        confirm(f"Shut {vm} down and cut it over?", yes)
        done = live.failover(opened, vm, power_off)
    data = {
        "failover_id": done.failover_id,
        "job_id": done.job_id,
        "vm": done.vm_name,
        "destination_vm_id": done.destination_vm_id,
        "destination_name": done.destination_name,
        "volume_ids": list(done.volume_ids),
        "networks": done.networks,
        "shutdown": done.shutdown,
        "final_sync_bytes_moved": done.final_sync.moved if done.final_sync else None,
        "downtime_seconds": round(done.downtime, 3),
    }
    text = (
        f"{done.vm_name} runs in CloudStack as {done.destination_name} ({done.destination_vm_id})\n"
        f"downtime {human_seconds(done.downtime)}; the source is off (by {done.shutdown})"
    )
    render.result(output, "migratekit.failover/1", data, text=text)
