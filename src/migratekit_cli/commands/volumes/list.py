"""migratekit volumes list"""

from __future__ import annotations

import typer

from migratekit_cli.commands.volumes import surplus
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_core.common.units import human_bytes


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the volumes that MigrateKit made, where they are attached, how they are exported, and which of them nothing
    needs any more."""
    from migratekit_core.services.replication.surplus import find

    with runtime(context) as opened:
        found = opened.volumes().volumes()
        left = find(opened, found)
    reasons = {one.volume_id: one.reason for one in left.volumes}
    columns = ("ID", "NAME", "SIZE", "STATE", "ATTACHED TO", "DEVICE", "EXPORT", "DRIFT", "SURPLUS")
    table = render.Table(*columns, right=("SIZE",))
    for volume in found:
        table.add(
            volume["id"],
            volume["name"],
            human_bytes(volume["size"]),
            volume["state"],
            volume["vm_id"],
            volume["device_path"],
            volume["export_name"],
            ", ".join(volume["drift"]),
            reasons.get(volume["id"]),
        )
    data = {
        "volumes": [{**volume, "surplus": reasons.get(volume["id"])} for volume in found],
        **surplus.document(left),
    }
    render.result(output, "migratekit.volumes/1", data, table)
