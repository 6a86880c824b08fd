"""migratekit volumes"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import configuration, runtime
from migratekit_core.units import human_bytes

app = typer.Typer(help="Look at OSSEA volumes and what the volume daemon did.", no_args_is_help=True)
daemon = typer.Typer(help="The volume daemon itself, on the OMA.", no_args_is_help=True)
app.add_typer(daemon, name="daemon")


@app.command("list")
@reported
def list_volumes(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the volumes that MigrateKit made, where they are attached, and how they are exported."""
    with runtime(context) as opened:
        found = opened.volumes().volumes()
    table = render.Table("ID", "NAME", "SIZE", "STATE", "ATTACHED TO", "DEVICE", "EXPORT", right=("SIZE",))
    for volume in found:
        table.add(
            volume["id"],
            volume["name"],
            human_bytes(volume["size"]),
            volume["state"],
            volume["vm_id"],
            volume["device_path"],
            volume["export_name"],
        )
    render.result(output, "migratekit.volumes/1", {"volumes": found}, table)


@app.command("operations")
@reported
def list_operations(
    context: typer.Context,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many, the newest first.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the volume daemon's operations, the newest first."""
    with runtime(context) as opened:
        found = opened.volumes().operations(limit)
    table = render.Table("ID", "TYPE", "STATUS", "VOLUME", "CREATED (UTC)", "ERROR")
    for operation in found:
        error = operation["error"]
        text = f"{error['what']}: {error['why']}" if error else ""
        table.add(
            operation["id"],
            operation["type"],
            operation["status"],
            operation["volume_id"],
            operation["created_at"],
            text,
        )
    render.result(output, "migratekit.operations/1", {"operations": found}, table)


@daemon.command("run")
@reported
def run_daemon(context: typer.Context) -> None:
    """Run the volume daemon in the foreground until SIGTERM."""
    from migratekit_core.volumes.run import serve

    serve(configuration(context))
