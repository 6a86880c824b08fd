"""What the commands that change a volume by hand have in common: the plan, the question, the job, the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from migratekit_cli.options import Output
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_core.common.units import human_bytes

if TYPE_CHECKING:
    from migratekit_core.volumed.changes import Change
    from migratekit_core.volumed.client import VolumeClient


def carry_out(
    context: typer.Context, planned: Callable[[VolumeClient], Change], dry_run: bool, yes: bool, output: Output
) -> None:
    """Show the plan of a change, ask, and make it as a job. `planned` makes the plan, and changes nothing."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.volumed.changes import apply

    with runtime(context) as opened:
        change = planned(opened.volumes())
        about = {"action": change.action, "volume_id": change.volume_id, "volume": change.volume_name}
        lines = [f"  {number}. {step}" for number, step in enumerate(change.steps, 1)] or ["  nothing to do"]
        lines.insert(0, f"{change.action} {change.volume_name} ({change.volume_id})")
        if dry_run:
            render.result(
                output, "migratekit.volume-plan/1", {**about, "steps": list(change.steps)}, text="\n".join(lines)
            )
            return
        confirm(f"{change.action.capitalize()} this volume?", yes, about=lines)
        require_schema(opened.databases)
        with opened.tracker.job(f"volumes-{change.action}", owner=change.volume_name) as job:
            done = apply(opened.volumes(job), change)
    told = ", ".join(f"{name} {shown(name, value)}" for name, value in done.items() if value is not None)
    result: dict[str, Any] = {**about, "job_id": job.id, "result": done}
    render.result(output, "migratekit.volume-change/1", result, text=f"{change.action}: done ({told})")


def shown(name: str, value: Any) -> str:
    """Return a field of a volume as a person reads it."""
    if name == "size":
        return human_bytes(value)
    if name == "snapshots":
        return ", ".join(f"{taken['name']} ({taken['id']})" for taken in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={held}" for key, held in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
