"""migratekit volumes daemon run"""

from __future__ import annotations

import typer

from migratekit_cli.errors import reported
from migratekit_cli.session import configuration


@reported
def command(context: typer.Context) -> None:
    """Run the volume daemon in the foreground until SIGTERM."""
    from migratekit_core.volumed.run import serve

    serve(configuration(context))
