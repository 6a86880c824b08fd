"""migratekit jobs"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migratekit_cli import render
from migratekit_cli.commands import jobs_cancel, jobs_export, jobs_prune, jobs_tail, jobs_watch
from migratekit_cli.downtime import drawn, fields
from migratekit_cli.errors import reported
from migratekit_cli.options import (
    BandwidthOption,
    DiskBandwidthOption,
    KindsOption,
    Output,
    OutputOption,
    OwnersOption,
    SinceOption,
    StatusesOption,
)
from migratekit_cli.session import configuration, runtime
from migratekit_core.common.errors import UsageError
from migratekit_core.common.units import human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.joblog.search import Found

app = typer.Typer(help="Look at what was done and what runs, step by step; stop it.", no_args_is_help=True)
SHORT_ID = 8
"""Characters of an id on a terminal; every command takes the beginning of one."""


@app.command("list")
@reported
def list_jobs(
    context: typer.Context,
    vm: OwnersOption = None,
    kind: KindsOption = None,
    status: StatusesOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest first.")] = 50,
    nested: Annotated[
        bool, typer.Option("--nested", help="Also jobs within others, such as volume operations.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, the newest first."""
    from migratekit_core.adapters.tunnel import local
    from migratekit_core.joblog.glance import glance

    config = configuration(context)
    socket = local.way_to(config.tunnel, "db")
    owners, kinds, statuses = tuple(vm or ()), tuple(kind or ()), tuple(status or ())
    rows: Sequence[Any] | None = glance(
        config.database, socket, owners=owners, kinds=kinds, statuses=statuses, since=since, nested=nested, limit=limit
    )
    if rows is None:
        from migratekit_core.db.schema import require_schema
        from migratekit_core.joblog.search import Filter, find

        with runtime(context) as opened:
            require_schema(opened.databases, ("oma",))
            opened.tracker.mark_interrupted()
            rows = find(opened.databases.oma, Filter(owners, kinds, statuses, since, nested, limit))
    table = render.Table("ID", "KIND", "ABOUT", "STATUS", "STARTED (UTC)", "TOOK", right=("TOOK",))
    for row in rows:
        table.add(_id(row), row.kind, row.owner, row.status, f"{row.started_at:%Y-%m-%d %H:%M:%S}", _took(row))
    render.result(output, "migratekit.jobs/1", {"jobs": [row.model_dump(mode="json") for row in rows]}, table)


@app.command("show")
@reported
def show_job(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, or how it begins.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a job: its steps, how long each took, what was recorded, and the jobs within it."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.show import tree
    from migratekit_core.services.failover.downtime import of_job

    with runtime(context) as opened:
        require_schema(opened.databases, ("oma",))
        opened.tracker.mark_interrupted()
        found = tree(opened.tracker, job)
        away = of_job(opened.databases.oma, found.job.id)
    table = render.Table("STEP", "STATUS", "TOOK", "WHAT HAPPENED", right=("TOOK",))
    _add_steps(table, found, "")
    head = f"{found.job.kind} of {found.job.owner}: {found.job.status}"
    if found.job.error_message:
        head += f"\n{found.job.error_message}"
    if away is not None:
        head += f"\ndowntime {human_seconds(away.seconds)}{'' if away.over else ' so far'}\n{drawn(away)}"
    data = {
        "job": found.job.model_dump(mode="json"),
        "steps": [step.model_dump(mode="json") for step in found.steps],
        "jobs": [inner.job.model_dump(mode="json") for inner in found.within],
        "events": [event.model_dump(mode="json") for event in found.events],
        "downtime_seconds": away.seconds if away is not None else None,
        "downtime": fields(away) if away is not None else None,
    }
    render.result(output, "migratekit.job/1", data, table, head)


@app.command("set")
@reported
def set_job(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of a running sync or failover, or how it begins.")],
    bandwidth: BandwidthOption = None,
    disk_bandwidth: DiskBandwidthOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a running job, from any host that reaches the database: it follows within two seconds while it copies."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.requests import ask

    given = {"bandwidth": bandwidth, "disk_bandwidth": disk_bandwidth}
    settings = {name: value or None for name, value in given.items() if value is not None}
    if not settings:
        raise UsageError("nothing to set", "no option says what", "pass --bandwidth or --disk-bandwidth")
    with runtime(context) as opened:
        require_schema(opened.databases)
        found = ask(opened.tracker, job, settings)
    said = [f"{name} {human_rate(value) if value else 'without a limit'}" for name, value in settings.items()]
    text = f"{found.kind} of {found.owner}: {', '.join(said).replace('_', ' ')}"
    render.result(output, "migratekit.job-set/1", {"job_id": found.id, **settings}, text=text)


app.command("watch")(jobs_watch.watch)
app.command("tail")(jobs_tail.tail)
app.command("cancel")(jobs_cancel.cancel)
app.command("export")(jobs_export.export)
app.command("prune")(jobs_prune.prune)


def _id(row: Any) -> str:
    return row.id[:SHORT_ID] if sys.stdout.isatty() else str(row.id)


def _add_steps(table: render.Table, found: Found, margin: str) -> None:
    """Add the steps of a job, and below them the jobs within it with theirs."""
    beside = [event.message for event in found.events if event.step_id is None]
    if beside:
        table.add(f"{margin}-", "", "", "; ".join(beside))
    for step in found.steps:
        said = [event.message for event in found.events if event.step_id == step.id]
        table.add(f"{margin}{step.name}", step.status, _took(step), step.error_message or "; ".join(said))
    for inner in found.within:
        about = "" if inner.job.owner == found.job.owner else f" {inner.job.owner}"
        table.add(f"{margin}{inner.job.kind}{about}:", inner.job.status, _took(inner.job), inner.job.id)
        _add_steps(table, inner, f"{margin}  ")


def _took(row: Any) -> str:
    ended: datetime | None = row.completed_at
    return human_seconds((ended - row.started_at).total_seconds()) if ended else ""
