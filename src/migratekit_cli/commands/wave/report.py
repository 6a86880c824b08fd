"""migratekit wave report"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.commands.wave import waveview
from migratekit_cli.commands.wave.waveask import WaveArgument
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.reports import pages
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_core.common.units import human_bytes, human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.waves.report import WaveReport


@reported
def command(
    context: typer.Context,
    wave: WaveArgument,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the report with charts, one HTML file.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Report a wave: its machines, every attempt, how fast it was, and what failed with what to do about it."""
    from migratekit_cli.reports.wave import document, page
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.waves.report import collect

    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        found = collect(opened.databases.oma, wave)
    if html is not None:
        pages.write(html, datetime.now(UTC), lambda made, version: page.document(found, made, version))
    data = {} if output is Output.TABLE else document.document(found)
    render.result(output, document.SCHEMA, data, _table(found), _text(found) if output is Output.TABLE else "")


def _text(found: WaveReport) -> str:
    from migratekit_core.services.waves.view import overview

    lines = [waveview.headline(overview(found.seen))]
    if found.rate is not None:
        lines.append(
            f"copied {human_bytes(found.copied)} in {human_seconds(found.copy_seconds)}, {human_rate(found.rate)}"
        )
    for each in overview(found.seen).troubles:
        lines += waveview.trouble(each)
    return "\n".join(lines)


def _table(found: WaveReport) -> render.Table:
    table = render.Table("BEGAN (UTC)", "MACHINE", "TASK", "ATTEMPT", "OUTCOME", "TOOK", "BYTES", "WORKER",
                         right=("ATTEMPT", "TOOK", "BYTES"))  # fmt: skip
    for each in found.attempts:
        took = human_seconds((each.ended_at - each.started_at).total_seconds()) if each.ended_at else ""
        table.add(
            f"{each.started_at:%Y-%m-%d %H:%M:%S}", each.name, each.task, each.number, each.outcome or "running", took,
            human_bytes(each.bytes_done), each.worker,
        )  # fmt: skip
    return table
