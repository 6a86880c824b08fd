"""migratekit test-failover"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import ConvertOption, DryRunOption, Output, OutputOption, VmArgument
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import plans, render
from migratekit_cli.ui.render import named
from migratekit_core.common.hints import migratekit
from migratekit_core.common.units import human_seconds


@reported
def command(
    context: typer.Context,
    vm: VmArgument,
    convert: ConvertOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Rehearse a failover: a copy of the machine in the isolated test network. Replication goes on; see `cleanup`."""
    from migratekit_core.services.failover import rehearsal

    with runtime(context) as opened:
        if dry_run:
            plan = rehearsal.plan(opened, vm)
            plans.show(plan, output, "migratekit.test-failover-plan/1")
            return
        done = rehearsal.rehearse(opened, vm, convert)
    text = as_given(
        f"{done.vm_name}: rehearsal {done.destination_name} runs ({done.destination_vm_id}), "
        f"after {human_seconds(done.seconds)}\ntake it away with: ",
        migratekit("cleanup", done.vm_name),
    )
    render.result(output, "migratekit.test-failover/1", named(asdict(done)), text=text)
