"""migratekit jobs watch"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.commands.jobs import jobview
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption, OwnersOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import plain, render
from migratekit_cli.ui.display import Display
from migratekit_core.common.units import human_seconds

if TYPE_CHECKING:
    from migratekit_core.joblog.live import Snapshot

TERMINAL_SECONDS, LINES_SECONDS = 1.0, 5.0
FAILED_EXIT_CODE = 1


@reported
def command(
    context: typer.Context,
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="[JOB]…", help="Ids, or how they begin; without them all that run.")
    ] = None,
    vm: OwnersOption = None,
    interval: Annotated[
        float | None,
        typer.Option("--interval", min=0.2, help="Seconds between two looks; 1 on a terminal, 5 elsewhere."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch running jobs, on all hosts: their steps, disks, rates, and how long they will take.

    Jobs that are named are watched until they end: exit 0 where all completed, else 1. Without names a terminal shows
    whatever runs until Ctrl-C; elsewhere it ends when nothing runs any more.
    """
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.live import snapshot
    from migratekit_core.joblog.show import one

    terminal = output is Output.TABLE and sys.stdout.isatty()
    pause = interval or (TERMINAL_SECONDS if terminal else LINES_SECONDS)
    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        ids = tuple(one(opened.tracker, job).id for job in jobs or ())

        def look(job_ids: tuple[str, ...] = ids) -> Snapshot:
            opened.tracker.mark_interrupted()
            return snapshot(opened.databases.oma, job_ids, () if job_ids else tuple(vm or ()))

        if once:
            last = look()
            _show_once(last, output)
        elif terminal:
            last = _live(look, pause, bool(ids))
        else:
            last = _follow(look, pause, bool(ids), output)
    if ids and any(job.status not in {"completed", "running"} for job in last.jobs):
        raise typer.Exit(FAILED_EXIT_CODE)


def _over(seen: Snapshot, named: bool) -> bool:
    return all(job.status != "running" for job in seen.jobs) if named else not seen.jobs


def _follow(look: Callable[..., Snapshot], pause: float, named: bool, output: Output) -> Snapshot:
    """Write lines, or documents, until there is nothing more to tell."""
    from migratekit_core.common.errors import UnreachableError

    told = False
    while True:
        try:
            seen = look()
        except UnreachableError as error:
            if not told:
                raise
            plain.err(f"{error}: trying again")
            time.sleep(pause)
            continue
        _show_once(seen, output)
        told = True
        if _over(seen, named):
            return seen
        time.sleep(pause)


def _show_once(seen: Snapshot, output: Output) -> None:
    if output is Output.TABLE:
        if sys.stdout.isatty():
            console = plain.console()
            console.print(jobview.drawn(seen, console.width))
            return
        now = f"{datetime.now().astimezone():%H:%M:%S}"
        for line in jobview.lines(seen) if seen.jobs else ["nothing runs"]:
            plain.out(f"{now} {line}")
    else:
        render.piece(output, "migratekit.jobs-watch/1", jobview.document(seen))
    sys.stdout.flush()


def _live(look: Callable[..., Snapshot], pause: float, named: bool) -> Snapshot:
    """Draw, in place; what has ended meanwhile stays above as a line."""
    from rich.text import Text

    from migratekit_core.common.errors import UnreachableError

    console = plain.console()
    seen, notice = look(), ""
    with Display(console, lambda: jobview.drawn(seen, console.width, notice)) as shown:
        try:
            while True:
                shown.refresh()
                if named and _over(seen, named):
                    return seen
                time.sleep(pause)
                try:
                    now = look()
                    gone = {job.id for job in seen.jobs} - {job.id for job in now.jobs}
                    for job in look(tuple(gone)).jobs if gone else ():
                        status = job.status, jobview.COLOURS[job.status]
                        took = f" after {human_seconds(job.seconds)}"
                        console.print(Text.assemble((job.id[:8], "dim"), f" {job.kind} {job.owner} ", status, took))
                    seen, notice = now, ""
                except UnreachableError as error:
                    notice = f"{error}: trying again"
        except KeyboardInterrupt:
            return seen
