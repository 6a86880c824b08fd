"""migratekit volumes"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migratekit_cli import render, surplus
from migratekit_cli.ask import confirm
from migratekit_cli.commands import volumes_daemon, volumes_delete, volumes_drift
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, VolumeArgument, YesOption
from migratekit_cli.session import runtime
from migratekit_core.common.units import human_bytes

if TYPE_CHECKING:
    from migratekit_core.volumed.changes import Change
    from migratekit_core.volumed.client import VolumeClient

app = typer.Typer(help="Look at OSSEA volumes, change them by hand, and see what was done.", no_args_is_help=True)
app.add_typer(volumes_daemon.app, name="daemon")


@app.command("list")
@reported
def list_volumes(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the volumes that MigrateKit made, where they are attached, how they are exported, and which of them nothing
    needs any more."""
    from migratekit_core.services.replication.surplus import find

    with runtime(context) as opened:
        found = opened.volumes().volumes()
        left = find(opened, found)
    reasons = {one.volume_id: one.reason for one in left.volumes}
    columns = ("ID", "NAME", "SIZE", "STATE", "ATTACHED TO", "DEVICE", "EXPORT", "DRIFT", "SURPLUS")
    table = render.Table(*columns, right=("SIZE",))
    for volume in found:
        table.add(
            volume["id"],
            volume["name"],
            human_bytes(volume["size"]),
            volume["state"],
            volume["vm_id"],
            volume["device_path"],
            volume["export_name"],
            ", ".join(volume["drift"]),
            reasons.get(volume["id"]),
        )
    data = {
        "volumes": [{**volume, "surplus": reasons.get(volume["id"])} for volume in found],
        **surplus.document(left),
    }
    render.result(output, "migratekit.volumes/1", data, table)


@app.command("show")
@reported
def show_volume(context: typer.Context, volume: VolumeArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a volume: as CloudStack has it, as Linux has it, its export, its snapshots."""
    from migratekit_core.volumed import changes

    with runtime(context) as opened:
        client = opened.volumes()
        listed = changes.find(client, volume)
        found = client.get(listed["id"]) or listed
    table = render.Table("FIELD", "VALUE")
    for name, value in found.items():
        table.add(name, _text(name, value))
    render.result(output, "migratekit.volume/1", {"volume": found}, table)


app.command("drift")(volumes_drift.drift)


@app.command("attach")
@reported
def attach(
    context: typer.Context,
    volume: VolumeArgument,
    vm: Annotated[
        str | None, typer.Option("--vm", help="CloudStack's id of the machine to attach it to, instead of the OMA.")
    ] = None,
    device: Annotated[
        int | None, typer.Option("--device", min=0, max=63, help="Position on the machine; 0 is the root disk.")
    ] = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Attach a volume to the OMA, and find its device; or to another machine."""
    from migratekit_core.volumed import changes

    _change(context, lambda client: changes.plan_attach(client, volume, vm, device), dry_run, yes, output)


@app.command("detach")
@reported
def detach(
    context: typer.Context,
    volume: VolumeArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Detach a volume from whatever it is attached to; refused while it is exported."""
    from migratekit_core.volumed import changes

    _change(context, lambda client: changes.plan_detach(client, volume), dry_run, yes, output)


@app.command("export")
@reported
def export(
    context: typer.Context,
    volume: VolumeArgument,
    vm_name: Annotated[str, typer.Option("--vm-name", help="Machine that the export is named after.")] = "manual",
    disk: Annotated[str, typer.Option("--disk", help="Disk that the export is named after.")] = "0",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Export a volume of the OMA over NBD, on loopback, under a name that cannot be guessed."""
    from migratekit_core.volumed import changes

    _change(context, lambda client: changes.plan_export(client, volume, vm_name, disk), dry_run, yes, output)


@app.command("unexport")
@reported
def unexport(
    context: typer.Context,
    volume: VolumeArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take a volume's export back; refused (exit 8) while somebody is connected."""
    from migratekit_core.volumed import changes

    _change(context, lambda client: changes.plan_unexport(client, volume), dry_run, yes, output)


app.command("delete")(volumes_delete.delete)


@app.command("operations")
@reported
def list_operations(
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


def _change(
    context: typer.Context, planned: Callable[[VolumeClient], Change], dry_run: bool, yes: bool, output: Output
) -> None:
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
    told = ", ".join(f"{name} {_text(name, value)}" for name, value in done.items() if value is not None)
    result: dict[str, Any] = {**about, "job_id": job.id, "result": done}
    render.result(output, "migratekit.volume-change/1", result, text=f"{change.action}: done ({told})")


def _text(name: str, value: Any) -> str:
    if name == "size":
        return human_bytes(value)
    if name == "snapshots":
        return ", ".join(f"{taken['name']} ({taken['id']})" for taken in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={held}" for key, held in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)
