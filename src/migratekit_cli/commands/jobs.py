"""migratekit jobs"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_core.units import human_seconds

app = typer.Typer(help="Look at what was done, step by step.", no_args_is_help=True)


@app.command("list")
@reported
def list_jobs(
    context: typer.Context,
    vm: Annotated[str | None, typer.Option("--vm", help="Only jobs about this machine.")] = None,
    status: Annotated[str | None, typer.Option("--status", help="running, completed, failed or interrupted.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest first.")] = 50,
    nested: Annotated[
        bool, typer.Option("--nested", help="Also jobs within others, such as volume operations.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, the newest first."""
    from migratekit_core.db.schema import require_schema

    with runtime(context) as opened:
        require_schema(opened.databases)
        opened.tracker.mark_interrupted()
        rows = opened.tracker.jobs(owner=vm, status=status, nested=nested, limit=limit)
    table = render.Table("ID", "KIND", "ABOUT", "STATUS", "STARTED (UTC)", "TOOK", right=("TOOK",))
    for row in rows:
        table.add(row.id, row.kind, row.owner, row.status, f"{row.started_at:%Y-%m-%d %H:%M:%S}", _took(row))
    render.result(output, "migratekit.jobs/1", {"jobs": [row.model_dump(mode="json") for row in rows]}, table)


@app.command("show")
@reported
def show_job(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, or how it begins.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a job: its steps, how long each took, and what was recorded."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.show import details

    with runtime(context) as opened:
        require_schema(opened.databases)
        found = details(opened.tracker, job)
    table = render.Table("STEP", "STATUS", "TOOK", "WHAT HAPPENED", right=("TOOK",))
    for step in found.steps:
        said = [event.message for event in found.events if event.step_id == step.id]
        table.add(step.name, step.status, _took(step), step.error_message or "; ".join(said))
    head = f"{found.job.kind} of {found.job.owner}: {found.job.status}"
    if found.job.error_message:
        head += f"\n{found.job.error_message}"
    data = {
        "job": found.job.model_dump(mode="json"),
        "steps": [step.model_dump(mode="json") for step in found.steps],
        "jobs": [child.model_dump(mode="json") for child in found.children],
        "events": [event.model_dump(mode="json") for event in found.events],
    }
    render.result(output, "migratekit.job/1", data, table, head)


def _took(row: Any) -> str:
    ended: datetime | None = row.completed_at
    return human_seconds((ended - row.started_at).total_seconds()) if ended else ""
