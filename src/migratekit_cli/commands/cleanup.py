"""migratekit cleanup"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VmArgument
from migratekit_cli.render import named
from migratekit_cli.session import runtime


@reported
def cleanup(
    context: typer.Context, vm: VmArgument, dry_run: DryRunOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Take a machine's rehearsals away: exactly what they made, in whatever state they died. Can be repeated."""
    from migratekit_core.failover import cleanup as core

    with runtime(context) as opened:
        if dry_run:
            ids = core.plan(opened, vm)
            text = "\n".join(f"would take away rehearsal {item}" for item in ids) or "nothing to clean up"
            render.result(output, "migratekit.cleanup-plan/1", {"vm": vm, "failovers": ids}, text=text)
            return
        done = core.clean(opened, vm)
    text = (
        f"{done.vm_name}: {render.count(len(done.failovers), 'rehearsal')} cleaned up "
        f"({render.count(len(done.machines), 'machine')}, {render.count(len(done.volumes), 'volume')}, "
        f"{render.count(len(done.snapshots), 'snapshot')})"
        if done.failovers
        else f"{done.vm_name}: nothing to clean up"
    )
    render.result(output, "migratekit.cleanup/1", named(asdict(done)), text=text)
