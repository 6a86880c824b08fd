"""migratekit report"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.reports import pages
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.render import count
from migratekit_core.common.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.reports.model import Report


@reported
def command(
    context: typer.Context,
    subject: Annotated[
        str, typer.Argument(metavar="VM|JOB", help="Machine (name, path, instanceUuid), or how a job's id begins.")
    ],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report with charts, one HTML file.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Report what was done with a machine, or in a job: steps, syncs, downtime, digests, networks, what was made."""
    from migratekit_cli.reports.migration import document, page
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.reports.collect import collect

    with runtime(context) as opened:
        require_schema(opened.databases, ("oma",))
        opened.tracker.mark_interrupted()
        # A card of a network that goes nowhere is left out on purpose.
        networks = {source: target or "left out" for source, target in opened.config.networks.map.items()}
        found = collect(opened.databases, subject, networks)
    if html is not None:
        pages.write(html, datetime.now(UTC), lambda made, version: page.document(found, made, version))
    data = {} if output is Output.TABLE else document.document(found)
    render.result(output, document.SCHEMA, data, _table(found), _text(found))


def _text(found: Report) -> str:
    lines = [found.title if found.machine is None else f"{found.title} ({found.machine.path})"]
    done = [sync for sync in found.syncs if sync.status == "completed"]
    lines.append(f"{count(len(done), 'sync')} completed, {human_bytes(sum(sync.moved for sync in found.syncs))} moved")
    for each in found.verified[-1:]:
        then = f"verified {each.at:%Y-%m-%d %H:%M:%S}"
        lines += [f"{then}: {disk.label} {disk.result} {disk.volume_digest[:16]}" for disk in each.disks]
    for cutover in found.cutovers:
        kind = "failover" if cutover.kind == "live" else "rehearsal"
        away = f", downtime {human_seconds(cutover.downtime)}" if cutover.downtime is not None else ""
        lines.append(f"{kind} {cutover.status}{away}: machine {cutover.machine_id or 'not made'}")
    existing = [thing for thing in found.made if thing.where != "deleted"]
    lines += [f"{thing.what} {thing.name or thing.id}: {thing.id} {thing.where}".rstrip() for thing in existing]
    return "\n".join(lines)


def _table(found: Report) -> render.Table:
    table = render.Table("STARTED (UTC)", "JOB", "STATUS", "TOOK", "ID", right=("TOOK",))
    for one in found.jobs:
        job = one.job
        took = human_seconds((job.completed_at - job.started_at).total_seconds()) if job.completed_at else ""
        table.add(f"{job.started_at:%Y-%m-%d %H:%M:%S}", job.kind, job.status, took, job.id[:8])
    return table
