"""migratekit failover"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from migratekit_cli.commands.jobs.downtime import drawn, fields
from migratekit_cli.errors import reported
from migratekit_cli.options import ConvertOption, DryRunOption, Output, OutputOption, VmArgument, YesOption
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import plans, render
from migratekit_cli.ui.ask import confirm
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import migratekit
from migratekit_core.common.units import human_seconds, parse_duration

if TYPE_CHECKING:
    from migratekit_core.services.failover.cutover import When
    from migratekit_core.services.failover.live import FailoverResult

T = TypeVar("T")


@reported
def command(
    context: typer.Context,
    vm: VmArgument,
    power_off: Annotated[
        bool, typer.Option("--power-off", help="Power the source off where its guest does not shut down.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare every disk with its volume by digests before they are handed over."),
    ] = False,
    convert: ConvertOption = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Keep in step, and cut over then: 22:30, or 2026-11-24T22:30."),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option("--window", metavar="HH:MM-HH:MM", help="Cut over only in this part of the day (local time)."),
    ] = None,
    max_downtime: Annotated[
        str | None,
        typer.Option(
            "--max-downtime",
            metavar="TIME",
            help="Sync until the predicted downtime fits (90s, 5m), then cut over; or stop and say why it never will.",
        ),
    ] = None,
    hold: Annotated[bool, typer.Option("--hold", help="Keep in step until told by --release.")] = False,
    release: Annotated[bool, typer.Option("--release", help="Tell the failover that waits to cut over now.")] = False,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Tell the running failover to stop, and to give everything back.")
    ] = False,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Cut a machine over: shut the source down, sync once more, and start it in CloudStack.

    Until the new machine is started (the point of no return) Ctrl-C gives everything back and starts the source again;
    afterwards `rollback` does. A failover that was killed goes on when it is run again.
    """
    from migratekit_core.services.failover import live

    if release or cancel:
        _tell(context, vm, release, cancel, output)
        return
    when = _when(at, window, max_downtime, hold)
    with runtime(context) as opened:
        plan = live.plan(opened, vm, power_off) if dry_run or not yes else None
        if plan is not None:
            if dry_run:
                plans.show(plan, output, "migratekit.failover-plan/1")
                return
            plans.refuse(plan)
        confirm(f"Shut {vm} down and cut it over?", yes, about=plans.lines(plan) if plan is not None else ())
        done = live.failover(opened, vm, live.Options(power_off, verify, when, convert))
    text = (
        f"{done.vm_name} runs in CloudStack as {done.destination_name} ({done.destination_vm_id})\n"
        f"downtime {human_seconds(done.downtime.seconds)}; the source is off (by {done.shutdown})\n"
        + drawn(done.downtime)
        + as_given("\nto go back, without what it writes from now on: ", migratekit("rollback", done.vm_name))
    )
    render.result(output, "migratekit.failover/1", _data(done), text=text)


def _data(done: FailoverResult) -> dict[str, Any]:
    return {
        "failover_id": done.failover_id,
        "job_id": done.job_id,
        "vm": done.vm_name,
        "destination_vm_id": done.destination_vm_id,
        "destination_name": done.destination_name,
        "volume_ids": list(done.volume_ids),
        "networks": done.networks,
        "shutdown": done.shutdown,
        "final_sync_bytes_moved": done.final_sync.moved if done.final_sync else None,
        "downtime_seconds": done.downtime.seconds,
        "downtime": fields(done.downtime),
        "predicted_downtime_seconds": round(done.predicted.total, 3) if done.predicted else None,
    }


def _when(at: str | None, window: str | None, max_downtime: str | None, hold: bool) -> When:
    from datetime import datetime

    from migratekit_core.services.failover import cutover

    now = datetime.now().astimezone()
    return cutover.When(
        at=_parsed("--at", at, lambda text: cutover.parse_at(text, now)),
        window=_parsed("--window", window, cutover.parse_window),
        max_downtime=_parsed("--max-downtime", max_downtime, parse_duration),
        hold=hold,
    )


def _parsed(option: str, text: str | None, parse: Callable[[str], T]) -> T | None:
    try:
        return parse(text) if text is not None else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _tell(context: typer.Context, vm: str, release: bool, cancel: bool, output: Output) -> None:
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.failover import control

    if release and cancel:
        raise UsageError(
            "--release and --cancel exclude each other",
            "one cuts over, the other does not",
            "pass one",
            code=ErrorCode.USAGE,
        )
    with runtime(context) as opened:
        require_schema(opened.databases)
        job = control.release(opened, vm) if release else control.stop(opened, vm)
    what = "cut over now" if release else "stop"
    text = as_given(f"the failover of {vm} was told to {what}; watch it with: ", migratekit("jobs", "show", job.id[:8]))
    render.result(output, "migratekit.failover-told/1", {"job_id": job.id, "vm": vm, "told": what}, text=text)
