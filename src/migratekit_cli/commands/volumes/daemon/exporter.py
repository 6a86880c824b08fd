"""migratekit volumes daemon exporter"""

from __future__ import annotations

import typer

from migratekit_cli.errors import reported
from migratekit_cli.session import configuration


@reported
def command(context: typer.Context) -> None:
    """Keep the NBD exporter running, in the foreground, until SIGTERM: copies go on while the daemon is stopped.

    It needs neither a database nor CloudStack. Where it does not run, the daemon starts the exporter itself.
    """
    from migratekit_core.volumed.run import serve_exports

    serve_exports(configuration(context))
