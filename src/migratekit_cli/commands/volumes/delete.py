"""migratekit volumes delete"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VolumeArgument, YesOption
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm


@reported
def command(
    context: typer.Context,
    volume: VolumeArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    yes_delete: Annotated[
        bool, typer.Option("--yes-delete", help="Also one that was synced in the last days (volumes.retention).")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete a volume that MigrateKit made: the replica of a disk that was removed, or of a machine that is gone.

    Refused while it is attached, exported, part of a failover or a rehearsal, or while a run has its machine; and where
    it was synced in the last days (volumes.retention), without --yes-delete. The next sync of a machine whose replica
    was deleted makes a new volume and copies everything.
    """
    from migratekit_core.services.failover import removal

    with runtime(context) as opened:
        client = opened.volumes()
        try:
            planned = removal.plan(opened, client, volume)
        finally:
            client.close()
        about = {
            "action": "delete",
            "volume_id": planned.volume_id,
            "volume": planned.volume_name,
            "vm": planned.vm,
            "disk": planned.disk or None,
            "size_bytes": planned.size_bytes,
            "last_sync": planned.last_sync.isoformat() if planned.last_sync is not None else None,
            "surplus": planned.surplus or None,
        }
        lines = [
            f"delete {planned.volume_name} ({planned.volume_id})",
            *(f"  {number}. {step}" for number, step in enumerate(planned.steps, 1)),
            "what is lost",
            *(f"  - {as_given(line)}" for line in planned.lost),
        ]
        if dry_run:
            data = {**about, "steps": list(planned.steps), "lost": list(map(str, planned.lost))}
            render.result(output, "migratekit.volume-plan/1", data, text="\n".join(lines))
            return
        removal.require_wanted(opened, planned, yes_delete)
        confirm("Delete this volume for good?", yes, about=lines)
        job_id, done = removal.delete(opened, planned)
    told = "done" if done["existed"] else "it was gone already"
    result = {**about, "job_id": job_id, "result": done}
    render.result(output, "migratekit.volume-change/1", result, text=f"delete: {told} (volume_id {planned.volume_id})")
