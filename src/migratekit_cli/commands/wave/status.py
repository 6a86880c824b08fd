"""migratekit wave status"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.commands.wave import waveview
from migratekit_cli.commands.wave.waveask import WaveArgument
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import runtime

FAILED_EXIT_CODE = 1


@reported
def command(
    context: typer.Context,
    wave: WaveArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until no run of the wave goes on.")] = False,
    interval: Annotated[
        float | None,
        typer.Option("--interval", min=0.2, help="Seconds between two looks; 1 on a terminal, 5 elsewhere."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a wave stands: how much is done, how fast, how long yet, who is at work, and what failed.

    With --follow it ends with exit 0 where the wave completed, else 1; Ctrl-C ends only the view.
    """
    from migratekit_core.db.schema import require_schema
    from migratekit_core.db.wavestates import RUNNING
    from migratekit_core.services.waves.look import Snapshot, snapshot

    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))

        def look() -> Snapshot:
            return snapshot(opened.databases.oma, wave)

        if not follow:
            waveview.show(look(), output)
            return
        try:
            last = waveview.watch(look, lambda seen: seen.wave.status != RUNNING, output, interval)
        except KeyboardInterrupt:
            return
    if last.wave.status in ("failed", "cancelled"):
        raise typer.Exit(FAILED_EXIT_CODE)
