"""migratekit replicate"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VmArgument
from migratekit_cli.render import named
from migratekit_cli.session import runtime
from migratekit_core.units import human_bytes, human_rate, human_seconds


@reported
def replicate(
    context: typer.Context, vm: VmArgument, dry_run: DryRunOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Bring a machine's replica up to date: everything at first, then only what changed. The machine keeps running."""
    from migratekit_core.replication import preview, sync

    with runtime(context) as opened:
        if dry_run:
            plan = preview.preview(opened, vm)
            lines = [f"{plan.vm_name}: {plan.kind} sync", *(f"  {line}" for line in plan.steps)]
            render.result(output, "migratekit.replicate-plan/1", named(asdict(plan)), text="\n".join(lines))
            return
        done = sync.replicate(opened, vm)
    data = {
        "job_id": done.job_id,
        "vm": done.vm.name,
        "vm_uuid": done.vm.uuid,
        "kind": done.kind,
        "bytes_moved": done.moved,
        "bytes_changed": done.changed,
        "seconds": round(done.seconds, 3),
        "disks": [asdict(disk) for disk in done.disks],
    }
    table = render.Table("DISK", "SYNC", "CHANGED", "MOVED", "RATE", "REASON", right=("CHANGED", "MOVED", "RATE"))
    for disk in done.disks:
        rate = human_rate(disk.moved / disk.seconds) if disk.seconds else ""
        kind = "full" if disk.full else "incremental"
        table.add(disk.label, kind, human_bytes(disk.changed), human_bytes(disk.moved), rate, disk.reason)
    text = f"{done.vm.name}: {done.kind} sync, {human_bytes(done.moved)} moved in {human_seconds(done.seconds)}"
    render.result(output, "migratekit.replicate/1", data, table, text)
