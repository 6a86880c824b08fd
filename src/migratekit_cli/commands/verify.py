"""migratekit verify"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VmArgument
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.render import named
from migratekit_core.common.units import human_bytes

DIFFERENT_EXIT_CODE = 1
SHOWN = 3
"""Ranges that the table names; JSON has all of them."""


@reported
def command(
    context: typer.Context, vm: VmArgument, dry_run: DryRunOption = False, output: OutputOption = Output.TABLE
) -> None:
    """Compare a machine's replica with its source by digests, over a snapshot; only digests cross the tunnel.

    Ends with 0 where every volume is identical, with 1 where something differs. What the guest has written since the
    last sync is not compared.
    """
    from migratekit_core.services.replication import verify as core

    with runtime(context) as opened:
        if dry_run:
            plan = core.preview(opened, vm)
            text = "\n".join([f"{plan.vm_name}: verify", *(f"  {line}" for line in plan.steps)])
            render.result(output, "migratekit.verify-plan/1", named(asdict(plan)), text=text)
            return
        done = core.verify(opened, vm)
    data = {
        "job_id": done.job_id,
        "vm": done.vm.name,
        "vm_uuid": done.vm.uuid,
        "identical": done.identical,
        "disks": [
            {
                "label": disk.label,
                "volume_id": disk.volume_id,
                "result": "identical" if disk.identical else "different",
                "capacity_bytes": disk.capacity,
                "compared_bytes": disk.compared,
                "read_bytes": disk.read,
                "not_yet_replicated_bytes": disk.pending,
                "changes_known": disk.changes_known,
                "different_bytes": sum(length for _, length in disk.different),
                "different": [{"offset": offset, "length": length} for offset, length in disk.different],
                "note": disk.note,
                "source_digest": disk.source_digest,
                "volume_digest": disk.volume_digest,
            }
            for disk in done.disks
        ],
    }
    table = render.Table(
        "DISK", "RESULT", "COMPARED", "NOT YET REPLICATED", "DIFFERENT", "WHERE", right=("COMPARED", "DIFFERENT")
    )
    for disk in done.disks:
        where = ", ".join(f"{offset}+{length}" for offset, length in disk.different[:SHOWN])
        if len(disk.different) > SHOWN:
            where += f", and {len(disk.different) - SHOWN} more"
        differing = human_bytes(sum(length for _, length in disk.different))
        outcome = "identical" if disk.identical else "different"
        table.add(
            disk.label,
            outcome,
            human_bytes(disk.compared),
            human_bytes(disk.pending),
            differing,
            f"{where} ({disk.note})" if disk.note else where,
        )
    text = f"{done.vm.name}: {'identical' if done.identical else 'DIFFERENT'}"
    render.result(output, "migratekit.verify/1", data, table, text)
    if not done.identical:
        raise typer.Exit(DIFFERENT_EXIT_CODE)
