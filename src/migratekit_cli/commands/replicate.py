"""migratekit replicate"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from migratekit_cli.commands.replicate_due import replicate_due
from migratekit_cli.commands.volumes import surplus
from migratekit_cli.errors import reported
from migratekit_cli.options import BandwidthOption, DiskBandwidthOption, DryRunOption, Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.render import named
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, UsageError
from migratekit_core.common.units import human_bytes, human_rate, human_seconds


@reported
def command(
    context: typer.Context,
    vm: Annotated[
        str | None, typer.Argument(metavar="[VM]", help="Name, inventory path, instanceUuid or managed object id.")
    ] = None,
    all_due: Annotated[
        bool,
        typer.Option("--all-due", help="Instead of one machine: all of the table schedule that are due; for cron."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="With --all-due: write nothing unless there is trouble.")
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Compare with the volumes by digests and copy only what differs: after a lost change-tracking epoch, "
            "or to repair a replica.",
        ),
    ] = False,
    bandwidth: BandwidthOption = None,
    disk_bandwidth: DiskBandwidthOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a machine's replica up to date: everything at first, then only what changed. The machine keeps running."""
    if all_due:
        if vm is not None or compare:
            raise UsageError(
                "--all-due goes with no machine and no --compare",
                "the schedule names them",
                "leave it out",
                code=ErrorCode.USAGE,
            )
        given = {"--bandwidth": bandwidth, "--disk-bandwidth": disk_bandwidth}
        passed = [text for name, rate in given.items() if rate is not None for text in (name, _rate(rate))]
        try:
            replicate_due(context, passed, dry_run, quiet, output)
        except BusyError as error:
            if not quiet:
                raise
            raise typer.Exit(error.exit_code) from None
        return
    if quiet:
        raise UsageError(
            "--quiet goes with --all-due only", "one machine is named", "leave it out", code=ErrorCode.USAGE
        )
    if vm is None:
        raise UsageError(
            "no machine is named",
            "neither VM nor --all-due is given",
            "name one, or pass --all-due",
            code=ErrorCode.USAGE,
        )
    from migratekit_core.engine.bandwidth import Limits
    from migratekit_core.services.replication import preview, sync

    with runtime(context) as opened:
        if dry_run:
            plan = preview.preview(opened, vm, compare)
            lines = [f"{plan.vm_name}: {plan.kind} sync", *(f"  {line}" for line in plan.steps)]
            render.result(output, "migratekit.replicate-plan/1", named(asdict(plan)), text="\n".join(lines))
            return
        configured = opened.config.replication
        limits = Limits(
            configured.bandwidth if bandwidth is None else bandwidth or None,
            configured.disk_bandwidth if disk_bandwidth is None else disk_bandwidth or None,
        )
        done = sync.replicate(opened, vm, sync.Options(compare, limits))
    data = {
        "job_id": done.job_id,
        "vm": done.vm.name,
        "vm_uuid": done.vm.uuid,
        "kind": done.kind,
        "bytes_moved": done.moved,
        "bytes_changed": done.changed,
        "seconds": round(done.seconds, 3),
        "disks": [asdict(disk) for disk in done.disks],
        "surplus_volumes": surplus.plain(done.surplus),
        "removal_pending": done.removal_pending or None,
    }
    table = render.Table("DISK", "SYNC", "CHANGED", "MOVED", "RATE", "REASON", right=("CHANGED", "MOVED", "RATE"))
    for disk in done.disks:
        rate = human_rate(disk.moved / disk.seconds) if disk.seconds else ""
        kind = "compared" if disk.compared else "full" if disk.full else "incremental"
        table.add(disk.label, kind, human_bytes(disk.changed), human_bytes(disk.moved), rate, disk.reason)
    text = f"{done.vm.name}: {done.kind} sync, {human_bytes(done.moved)} moved in {human_seconds(done.seconds)}"
    if done.removal_pending:
        text += f"; snapshot removal pending: {done.removal_pending}"
    render.result(output, "migratekit.replicate/1", data, table, "\n".join([text, *surplus.lines(done.surplus)]))


def _rate(rate: int) -> str:
    return f"{rate / 1024:.3f}k" if rate else "none"
