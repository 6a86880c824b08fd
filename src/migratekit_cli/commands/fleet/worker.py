"""migratekit fleet worker"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.commands.fleet.fleetlog import note, require_certificates
from migratekit_cli.errors import reported
from migratekit_cli.session import Globals, runtime


@reported
def command(
    context: typer.Context,
    slots: Annotated[
        int | None, typer.Option("--slots", min=1, max=256, help="Machines at a time, instead of fleet.slots.")
    ] = None,
) -> None:
    """Run a worker of the fleet on this host: each machine in a process of its own.

    SIGTERM: nothing new is begun, copies stop at a checkpoint, cut-overs go on to their end. When the scheduler is gone
    it ends with exit 6, and systemd starts it again (migratekit-fleet-worker.service).
    """
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.fleet import dask

    chosen: Globals = context.obj
    with runtime(context, watched=False) as opened:
        fleet = opened.config.fleet
        require_certificates(opened.config)
        require_schema(opened.databases, ("oma",))
        dask.load(fleet)
        from migratekit_core.services.fleet.worker import serve

        serve(fleet.model_copy(update={"slots": slots}) if slots else fleet, opened.databases.oma, chosen.files, note)
