"""migratekit fleet"""

from __future__ import annotations

import typer

from migratekit_cli.commands import fleet_scheduler, fleet_status, fleet_worker

app = typer.Typer(
    help="The hosts that waves run on: a scheduler, and workers on as many as are needed.", no_args_is_help=True
)

app.command("scheduler")(fleet_scheduler.scheduler)
app.command("worker")(fleet_worker.worker)
app.command("status")(fleet_status.status)
