"""migratekit jobs show"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.commands.jobs.downtime import drawn, fields
from migratekit_cli.commands.jobs.jobview import took
from migratekit_cli.errors import reported
from migratekit_cli.options import (
    Output,
    OutputOption,
)
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import render
from migratekit_core.common.units import human_seconds

if TYPE_CHECKING:
    from migratekit_core.joblog.search import Found


@reported
def command(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of the job, or how it begins.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a job: its steps, how long each took, what was recorded, and the jobs within it."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.show import tree
    from migratekit_core.services.failover.downtime import of_job
    from migratekit_core.services.failover.owed import of_jobs, told

    with runtime(context) as opened:
        require_schema(opened.databases, ("oma",))
        opened.tracker.mark_interrupted()
        found = tree(opened.tracker, job)
        away = of_job(opened.databases.oma, found.job.id)
        left = of_jobs(opened.databases.oma, set(_ids(found)))
    table = render.Table("STEP", "STATUS", "TOOK", "WHAT HAPPENED", right=("TOOK",))
    _add_steps(table, found, "")
    head = f"{found.job.kind} of {found.job.owner}: {found.job.status}"
    if found.job.error_message:
        head += f"\n{found.job.error_message}"
    if away is not None:
        head += f"\ndowntime {human_seconds(away.seconds)}{'' if away.over else ' so far'}\n{drawn(away)}"
    head += "".join(f"\nto be taken back: {as_given(line)}" for line in told(left))
    data = {
        "job": found.job.model_dump(mode="json"),
        "steps": [step.model_dump(mode="json") for step in found.steps],
        "jobs": [inner.job.model_dump(mode="json") for inner in found.within],
        "events": [event.model_dump(mode="json") for event in found.events],
        "downtime_seconds": away.seconds if away is not None else None,
        "downtime": fields(away) if away is not None else None,
        "owed": [{"vm": one.vm_name, "what": one.what, "hint": one.todo.fields()} for one in left],
    }
    render.result(output, "migratekit.job/1", data, table, head)


def _ids(found: Found) -> Iterator[str]:
    yield found.job.id
    for inner in found.within:
        yield from _ids(inner)


def _add_steps(table: render.Table, found: Found, margin: str) -> None:
    """Add the steps of a job, and below them the jobs within it with theirs."""
    beside = [event.message for event in found.events if event.step_id is None]
    if beside:
        table.add(f"{margin}-", "", "", "; ".join(beside))
    for step in found.steps:
        said = [event.message for event in found.events if event.step_id == step.id]
        table.add(f"{margin}{step.name}", step.status, took(step), step.error_message or "; ".join(said))
    for inner in found.within:
        about = "" if inner.job.owner == found.job.owner else f" {inner.job.owner}"
        table.add(f"{margin}{inner.job.kind}{about}:", inner.job.status, took(inner.job), inner.job.id)
        _add_steps(table, inner, f"{margin}  ")
