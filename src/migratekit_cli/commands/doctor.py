"""migratekit doctor"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import as_given, configuration
from migratekit_cli.ui import plain, render
from migratekit_cli.ui.display import Display
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError

if TYPE_CHECKING:
    from migratekit_core.services.doctor.model import Line
    from migratekit_core.services.doctor.run import Report

STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
SPINS_PER_SECOND = 12.5
MOST_OF_WHAT = 28
"""Widest column of what is looked at: 80 columns have to leave room for what was found."""


@reported
def command(
    context: typer.Context,
    remote: Annotated[bool, typer.Option("--remote", help="Also ask the OMA about itself, over SSH.")] = False,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic, such as vcenter; may be repeated.")
    ] = None,
    problems: Annotated[
        bool, typer.Option("--problems", help="Say only what is not ok; nothing at all where everything is (for cron).")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 for warnings, too.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=600, help="Seconds for all checks.")] = 30.0,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Then also make a volume of 1 GiB, attach it to the OMA, write and read it through the tunnel, and "
            "delete it.",
        ),
    ] = False,
    probe_timeout: Annotated[
        float, typer.Option("--probe-timeout", min=1, max=7200, help="Seconds for the probe, until it is taken back.")
    ] = 600.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Look at everything that a run needs, here and behind the tunnel, and say what to do about what is wrong.

    The exit code is that of the first failed line; lines stand in the order in which to mend them.
    """
    from migratekit_core.services.doctor.run import examine, topics

    unknown = [name for name in topic or () if name not in topics()]
    if unknown:
        raise UsageError(
            f"no topic {unknown[0]!r}", f"there are: {', '.join(topics())}", "correct --topic", code=ErrorCode.USAGE
        )
    if "probe" in (topic or ()) and not probe:
        raise UsageError(
            "the topic probe needs --probe", "it makes a volume for a moment", "add --probe", code=ErrorCode.USAGE
        )
    config = configuration(context)
    with _patience() as show:
        found = examine(config, timeout, topic or (), remote)
        if probe:
            from migratekit_core.services.doctor.probe import probed

            found = probed(config, found, probe_timeout, show)
    _show(found, problems, output)
    if found.exit_code:
        raise typer.Exit(found.exit_code)
    if strict and found.verdict == "warning":
        raise typer.Exit(PreconditionError.exit_code)


@contextmanager
def _patience() -> Iterator[Callable[[str], None]]:
    """Show what is going on, on a terminal; a server that does not answer takes its time."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.spinner import Spinner
    from rich.text import Text

    turning = Spinner("dots", text="looking at everything…")
    with Display(plain.console(stderr=True), lambda: turning, per_second=SPINS_PER_SECOND, leave=False):
        yield lambda text: turning.update(text=Text(f"{text}…"))


def _show(found: Report, problems: bool, output: Output) -> None:
    lines = [line for line in found.lines if not (problems and line.status in ("ok", "skipped"))]
    counts = {status: sum(line.status == status for line in found.lines) for status in STYLES}
    summary = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    data = {
        "verdict": found.verdict,
        "exit_code": found.exit_code,
        "seconds": round(found.seconds, 3),
        "counts": counts,
        "lines": [asdict(line) for line in lines],
    }
    if output is not Output.TABLE or not sys.stdout.isatty():
        table = render.Table("STATUS", "TOPIC", "WHAT", "FOUND", "WHAT TO DO")
        for line in lines:
            table.add(line.status, line.topic, line.what, line.found, as_given(line.todo))
        render.result(output, "migratekit.doctor/1", data, table if lines or not problems else None)
        return
    _draw(lines, summary, found.seconds)


def _draw(lines: Sequence[Line], summary: str, seconds: float) -> None:
    """Draw the report on a terminal: a block for each topic, and below what is wrong what to do."""
    from rich.table import Table
    from rich.text import Text

    console = plain.console()
    widest = max((len(line.what) for line in lines), default=0)
    for topic in dict.fromkeys(line.topic for line in lines):
        console.print(Text(topic, style="bold"))
        block = Table(box=None, show_header=False, padding=(0, 1), pad_edge=False)
        block.add_column(width=9, no_wrap=True)
        block.add_column(width=min(widest, MOST_OF_WHAT), overflow="fold")
        block.add_column(overflow="fold")
        for line in (line for line in lines if line.topic == topic):
            style = STYLES[line.status]
            said = Text(line.found, style="dim" if line.status == "skipped" else "")
            if line.todo:
                said.append(f"\ndo: {as_given(line.todo)}", style=style)
            block.add_row(Text(f"  {line.status}", style=style), Text(line.what), said)
        console.print(block)
    console.print(f"\n{summary}; {seconds:.1f} s")
