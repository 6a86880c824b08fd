"""migratekit fleet status"""

from __future__ import annotations

from typing import Any

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import render
from migratekit_core.common.hints import migratekit
from migratekit_core.common.units import human_bytes


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show the fleet: its workers, the places that are taken, and the waves that it drives."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.fleet import dask, runs

    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        fleet = opened.config.fleet
        going = [
            {"wave": run.wave, "kind": run.course.kind, "phase": run.course.phase, "note": run.note or None,
             "asked_by": run.asked_by, "driver": run.driver or None}
            for run in runs.open_runs(opened.databases.oma)
        ]  # fmt: skip
        driven = runs.driven(opened.databases.oma)
        found: dict[str, Any] | None = None
        if fleet.scheduler is not None:
            dask.load(fleet)
            from migratekit_core.services.fleet.status import ask

            found = ask(fleet)
    data = {"scheduler": fleet.scheduler, "fleet": found, "driven": driven, "runs": going}
    render.result(
        output, "migratekit.fleet-status/1", data, _table(found), _text(found, fleet.scheduler, going, driven)
    )


def _text(found: dict[str, Any] | None, scheduler: str | None, going: list[dict[str, Any]], driven: bool | None) -> str:
    if found is None:
        lines = ["no fleet is configured (fleet.scheduler): wave run runs waves itself, on its host"]
    else:
        slots = sum(each["slots"] for each in found["workers"])
        busy = sum(each["machines"] for each in found["workers"])
        lines = [
            f"scheduler {scheduler}: {render.count(len(found['workers']), 'worker')}, {busy} of {slots} slots busy; "
            f"dashboard there: {found['dashboard']}"
        ]
        places = [f"{name} {taken}/{most}" for name, (taken, most) in found["leases"].items() if taken]
        lines.append(f"places taken: {', '.join(places) or 'none'}")
    for run in going:
        note = f": {run['note']}" if run["note"] else ""
        driver = f"driven by {run['driver'] or 'nobody yet'}"
        if driven is False:
            last = f" (the last was {run['driver']})" if run["driver"] else ""
            driver = f"nobody drives it now{last}; start the scheduler, or: {_again(run)}"
        lines.append(f"wave {run['wave']}: {run['phase']}{note}; {driver}")
    return "\n".join(lines)


def _again(run: dict[str, Any]) -> str:
    """Return the command that drives a run on without a fleet."""
    return as_given(migratekit("wave", run["kind"], run["wave"]))


def _table(found: dict[str, Any] | None) -> render.Table | None:
    if found is None:
        return None
    table = render.Table("WORKER", "ADDRESS", "SLOTS", "MACHINES", "MEMORY", "SILENT", right=("SLOTS", "MACHINES"))
    for each in found["workers"]:
        memory, silent = human_bytes(each["memory_bytes"]), f"{each['silent_seconds']:.1f} s"
        table.add(each["name"], each["address"], each["slots"], each["machines"], memory, silent)
    return table
