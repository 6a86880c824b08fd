"""migratekit volumes operations"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render


@reported
def command(
    context: typer.Context,
    operation: Annotated[str | None, typer.Argument(metavar="[OPERATION]", help="Only the one with this id.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many, the newest first.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the volume daemon's operations, the newest first."""
    with runtime(context) as opened:
        client = opened.volumes()
        found = [client.operation(operation)] if operation else client.operations(limit)
    table = render.Table("ID", "TYPE", "STATUS", "VOLUME", "CREATED (UTC)", "ERROR")
    for row in found:
        error = row["error"]
        text = f"{error['what']}: {error['why']}" if error else ""
        table.add(
            row["id"], row["type"], row["status"], row["volume_id"], row["created_at"][:19].replace("T", " "), text
        )
    render.result(output, "migratekit.operations/1", {"operations": found}, table)
