"""migratekit fleet scheduler"""

from __future__ import annotations

import typer

from migratekit_cli.commands.fleet.fleetlog import note, require_certificates
from migratekit_cli.errors import reported
from migratekit_cli.session import runtime


@reported
def command(context: typer.Context) -> None:
    """Run the fleet's scheduler, on one host: it drives the waves that `wave run` and `wave cutover` ask for.

    Its death loses nothing: what is to be done, and what was done, is in the database. systemd starts it again
    (migratekit-fleet-scheduler.service).
    """
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.fleet import dask

    with runtime(context, watched=False) as opened:
        fleet = opened.config.fleet
        require_certificates(opened.config, scheduler=False)
        require_schema(opened.databases, ("oma",))
        dask.load(fleet)
        from migratekit_core.services.fleet.scheduler import serve

        serve(fleet, opened.databases.oma, note)
