"""migratekit cleanup"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.commands.volumes import surplus
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.render import count, named
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import hint, migratekit

if TYPE_CHECKING:
    from migratekit_core.services.replication.surplus import Surplus


@reported
def command(
    context: typer.Context,
    vm: Annotated[
        str | None, typer.Argument(metavar="[VM]", help="Name, inventory path, instanceUuid or managed object id.")
    ] = None,
    orphans: Annotated[
        bool,
        typer.Option("--orphans", help="List what carries our tags in CloudStack and no job knows; --yes removes it."),
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a machine's rehearsals away: exactly what they made, in whatever state they died. Can be repeated.

    A snapshot that a sync could not remove in vCenter is removed, too.

    Their rows may be lost: they are found by their tags, too. With --orphans instead of a machine, the whole cloud is
    searched. Volumes of replicas that nothing needs any more are named, with the commands that remove them, and left.
    """
    if orphans == (vm is not None):
        raise UsageError(
            "name a machine, or pass --orphans",
            "one of the two is needed",
            hint("see: ", migratekit("cleanup", "-h")),
            code=ErrorCode.USAGE,
        )
    if vm is None:
        _orphans(context, yes and not dry_run, output)
        return
    from migratekit_core.services.failover import cleanup as core
    from migratekit_core.services.failover.destination import STAYS

    with runtime(context) as opened:
        if dry_run:
            found, left = core.plan(opened, vm), core.surplus_of(opened, vm)
            text = "\n".join(f"would take away rehearsal {one.failover_id}" for one in found) or "nothing to clean up"
            text += "".join(
                f"\nwould remove snapshot {one.snapshot_id} in vCenter" for one in core.at_source(opened, vm)
            )
            stays = core.will_stay(opened, found)
            if stays:
                text += f"\nits machine: {STAYS}"
            data = {
                "vm": vm,
                "machines_kept": stays,
                "failovers": [one.failover_id for one in found],
                "machines": [machine for one in found for machine in one.machines],
                "volumes": [volume for one in found for volume in one.volumes],
                "snapshots": [snapshot for one in found for snapshot in one.snapshots],
                "source_snapshots": [one.snapshot_id for one in core.at_source(opened, vm)],
                **surplus.document(left),
            }
            render.result(output, "migratekit.cleanup-plan/1", data, text="\n".join([text, *_told(left)]))
            return
        done = core.clean(opened, vm)
        left = core.surplus_of(opened, vm)
    text = (
        f"{done.vm_name}: {count(len(done.failovers), 'rehearsal')} cleaned up "
        f"({count(len(done.machines), 'machine')}, {count(len(done.volumes), 'volume')}, "
        f"{count(len(done.snapshots), 'snapshot')})"
        if done.failovers
        else f"{done.vm_name}: nothing to clean up"
    )
    if done.source_snapshots:
        text += f"\n{count(len(done.source_snapshots), 'snapshot')} that a sync had left in vCenter removed"
    if done.kept_machines:
        text += "".join(f"\nmachine {machine}: {STAYS}" for machine in done.kept_machines)
    if done.unfinished is not None:
        text += as_given(
            f"\nits live failover {done.unfinished} is not done: go on with: ",
            migratekit("failover", done.vm_name),
            "; or give it back with: ",
            migratekit("rollback", done.vm_name),
        )
    data = named(asdict(done))
    data["unfinished_failover"] = data.pop("unfinished")
    data |= surplus.document(left)
    render.result(output, "migratekit.cleanup/1", data, text="\n".join([text, *_told(left)]))


def _orphans(context: typer.Context, really: bool, output: Output) -> None:
    from migratekit_core.services.failover import orphans

    with runtime(context) as opened:
        swept = orphans.remove(opened) if really else orphans.listed(opened)
    table = render.Table("KIND", "ID", "NAME", "WHY", "WHAT BECOMES OF IT")
    for one in swept.orphans:
        removed = f"removed; {one.note}" if one.note else "removed"
        fate = removed if one.removed else f"kept: {one.keep}" if one.keep else "would be removed with --yes"
        table.add(one.kind, one.id, one.name, one.reason, fate)
    data = {
        "job_id": swept.job_id,
        "orphans": [asdict(one) for one in swept.orphans],
        **surplus.document(swept.surplus),
    }
    told = _told(swept.surplus) if swept.orphans else ["no orphans", *_told(swept.surplus)]
    render.result(output, "migratekit.orphans/1", data, table if swept.orphans else None, "\n".join(told))


def _told(left: Surplus) -> list[str]:
    return [*surplus.lines(left.volumes), *surplus.unchecked(left)]
