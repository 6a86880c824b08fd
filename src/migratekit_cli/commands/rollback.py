"""migratekit rollback"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VmArgument, YesOption
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_cli.ui.render import named
from migratekit_core.common.hints import migratekit


@reported
def command(
    context: typer.Context,
    vm: VmArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a failover back: stop the machine in CloudStack, give its volumes back to replication, start the source.

    What the machine in CloudStack has written is lost. It also takes back a failover that died on its way, and can be
    repeated.
    """
    from migratekit_core.services.failover import rollback as core
    from migratekit_core.services.failover.destination import STAYS
    from migratekit_core.services.replication.replica import UNKNOWN

    with runtime(context) as opened:
        plan = core.plan(opened, vm) if dry_run or not yes else None
        lines: list[str] = []
        if plan is not None:
            lines = [f"{plan.vm_name}: roll failover {plan.failover_id} back" if plan.steps else "nothing to roll back"]
            lines += [f"  {number}. {step}" for number, step in enumerate(plan.steps, 1)]
            if dry_run:
                render.result(output, "migratekit.rollback-plan/1", named(asdict(plan)), text="\n".join(lines))
                return
        confirm(f"Take the failover of {vm} back?", yes, about=lines)
        done = core.rollback(opened, vm)
    gone = f"; its machine {done.destination_vm_id} is destroyed" if done.destination_vm_id else ""
    if done.machine_standing:
        gone = f"; its machine {done.destination_vm_id} stays, stopped, for the next failover"
    if done.machine_kept:
        gone += f" ({STAYS})"
    text = f"{done.vm_name} is rolled back: the source {SOURCE[done.source]}{gone}"
    if done.job_id is None:
        text = f"{done.vm_name}: failover {done.failover_id} was rolled back before"
    elif done.content == UNKNOWN:
        text += as_given(f"\n{core.NEXT_SYNC}: ", migratekit("replicate", done.vm_name, "--compare"))
    else:
        text += as_given("\nthe next sync is incremental: ", migratekit("replicate", done.vm_name))
    render.result(output, "migratekit.rollback/1", named(asdict(done)), text=text)


SOURCE = {
    "started": "was started",
    "was running": "runs (it was not off)",
    "left off": "is off, as it was before the failover",
}
