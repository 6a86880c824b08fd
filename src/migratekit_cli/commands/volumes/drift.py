"""migratekit volumes drift"""

from __future__ import annotations

import typer

from migratekit_cli.commands.volumes import surplus
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import render
from migratekit_core.common.hints import from_fields

LEFT = 1
"""Exit code where something is left for an operator."""


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show where CloudStack, Linux, the exporter and the rows do not agree about a volume.

    The daemon compares them periodically, and puts right what loses nothing. Volumes that nothing needs any more are
    named, too: of disks that were removed, and of machines that vCenter does not have any more. Exits with 1 if
    something is left to do, or the last comparison could not be made.
    """
    from migratekit_core.services.replication.surplus import find

    with runtime(context) as opened:
        listing = opened.volumes().listing()
        found, left = listing["reconcile"], find(opened, listing["volumes"])
    lines = []
    if found["error"]:
        lines += ["the last comparison could not be made:", f"  {found['error']}", ""]
    if found["compared_at"] is None:
        lines.append("nothing has been compared yet: look again in a minute")
    else:
        skipped = f", {found['skipped']} left out (an operation works on them)" if found["skipped"] else ""
        lines.append(f"{found['volumes']} volumes compared at {found['compared_at']} UTC{skipped}")
    lines.append(f"{len(found['drift']) or 'nothing'} to put right, {len(found['repaired']) or 'nothing'} repaired")
    for one in found["drift"]:
        lines += ["", f"{one['kind']}: {one['what']}", f"  why: {one['why']}", f"   do: {as_given(from_fields(one))}"]
        lines.append(f"since: {one['since']} UTC")
    for one in found["repaired"]:
        by = f", operation {one['operation_id']}" if one["operation_id"] else ""
        lines += ["", f"repaired {one['kind']}: {one['what']}", f"  why: {one['why']}"]
        lines.append(f" done: {as_given(from_fields(one))} ({one['at']} UTC{by})")
    for told in (surplus.lines(left.volumes), surplus.unchecked(left)):
        lines += ["", *told] if told else []
    data = {"reconcile": found, **surplus.document(left)}
    render.result(output, "migratekit.volumes-drift/1", data, text="\n".join(lines))
    if found["drift"] or found["error"] or left.volumes:
        raise typer.Exit(LEFT)
