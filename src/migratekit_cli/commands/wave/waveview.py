"""How a wave looks while it goes on: for a terminal of 80 columns or more, as plain lines, and as a document."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migratekit_cli.commands.jobs.jobview import clock, pair, percent
from migratekit_cli.options import Output
from migratekit_cli.session import as_given
from migratekit_cli.ui import plain, render
from migratekit_cli.ui.display import Display
from migratekit_core.common.hints import migratekit
from migratekit_core.common.units import human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.waves.look import MachineState, Snapshot
    from migratekit_core.services.waves.view import Overview

SCHEMA = "migratekit.wave-status/1"
COLOURS = {
    "waiting": "dim", "running": "cyan", "replicated": "blue", "rehearsed": "blue", "cut-over": "green",
    "failed": "red", "skipped": "yellow", "rolled-back": "yellow", "cancelled": "yellow", "planned": "dim",
    "completed": "green",
}  # fmt: skip
DOING = {"replicate": "copying", "rehearse": "rehearsing", "cutover": "cutting over", "rollback": "rolling back"}
TERMINAL_SECONDS, LINES_SECONDS = 1.0, 5.0
MOST_TROUBLES = 5
"""That a terminal shows; `wave show` has all."""
AROUND = 8
"""Lines of a terminal that are not machines."""


def watch(
    look: Callable[[], Snapshot],
    over: Callable[[Snapshot], bool],
    output: Output = Output.TABLE,
    pause: float | None = None,
) -> Snapshot:
    """Show a wave on stdout until `over` says that it is; return how it was then.

    A terminal is drawn in place; elsewhere there are lines, or a document of each look on a line of its own. Ctrl-C is
    the caller's.
    """
    if output is Output.TABLE and sys.stdout.isatty():
        return _live(look, over, pause or TERMINAL_SECONDS)
    return _follow(look, over, output, pause or LINES_SECONDS)


def show(seen: Snapshot, output: Output) -> None:
    """Write how a wave stands, once."""
    from migratekit_core.services.waves.view import overview

    if output is not Output.TABLE:
        render.result(output, SCHEMA, document(seen))
    elif sys.stdout.isatty():
        console = plain.console()
        console.print(drawn(overview(seen), console.width, most=len(seen.machines)))
    else:
        for line in lines(overview(seen)):
            plain.out(line)


def document(seen: Snapshot) -> dict[str, Any]:
    """Return a wave for machines."""
    from migratekit_core.db.wavestates import STATES
    from migratekit_core.services.waves.view import overview

    view = overview(seen)
    wave = asdict(seen.wave)
    return {
        "wave": wave.pop("name"),
        **{key: _plain(value) for key, value in wave.items()},
        "at": seen.now.isoformat(),
        "counts": {state: seen.counts[state] for state in STATES},
        "done": view.done,
        "total": view.total,
        "rate": view.rate,
        "seconds_left": view.seconds_left,
        "seconds": view.seconds,
        "finished": view.finished,
        "silent": [each.name for each in view.silent],
        "machines": [machine(each) for each in seen.machines],
    }


def machine(each: MachineState) -> dict[str, Any]:
    """Return a machine of a wave for machines."""
    plain = asdict(each)
    plain["vm"], plain["vm_uuid"] = plain.pop("name"), plain.pop("vm_id")
    plain["error"] = each.error.fields if each.error else None
    return {key: _plain(value) for key, value in plain.items()}


def lines(view: Overview) -> Iterator[str]:
    """Yield the wave in a line, each machine that is worked on, and each that needs somebody."""
    yield headline(view)
    for each in view.running:
        yield f"  {each.name}: {_doing(each)}"
    for each in view.silent:
        yield f"  {each.name}: {_silent(each, view)}"
    for each in view.troubles:
        yield from trouble(each)


def headline(view: Overview) -> str:
    """Return the wave in one line."""
    wave = view.seen.wave
    tally = ", ".join(f"{number} {state}" for state, number in view.counts)
    return f"wave {wave.name} ({state(view)}): {', '.join(_progress(view))}; {tally}"


def state(view: Overview) -> str:
    """Return what a wave is: its status, what it does, and what was asked of it."""
    wave = view.seen.wave
    words = [DOING.get(wave.task or "", wave.status) if wave.status == "running" else wave.status]
    if wave.cancel_asked and wave.status != "cancelled":
        words.append("cancelled" if view.idle else "being cancelled")
    if wave.paused:
        words.append("paused" if view.idle else "pausing")
    return ", ".join(words)


def trouble(each: MachineState) -> Iterator[str]:
    """Yield what an operator has to know of a machine that failed, was skipped or waits for somebody."""
    attempt = f", attempt {each.attempts}" if each.attempts > 1 else ""
    doing = f"{each.task}{attempt}" if each.task and each.state == "failed" else each.state
    yield f"  {each.name} ({doing}): {each.error.what if each.error else each.state}"
    if each.error is not None:
        yield from (f"    {text}" for text in (each.error.why, as_given(each.error.todo)) if text)


def drawn(view: Overview, width: int, most: int = 20, notice: str = "") -> Any:
    """Return rich's form of a wave for a terminal so many columns wide, with so many machines at most."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    wave = view.seen.wave
    head = Text.assemble((f"wave {wave.name}", "bold"), "  ", (state(view), COLOURS.get(wave.status, "")))
    side = f"  {view.seen.now:%H:%M:%S} UTC"
    head.truncate(max(width - len(side), 10), overflow="ellipsis", pad=True)
    head.append(side, "dim")
    bar = Table.grid(padding=(0, 1, 0, 0))
    bar.width = width
    bar.add_column(ratio=1, min_width=10)
    bar.add_column(justify="right", no_wrap=True)
    done, total = (view.done, view.total) if view.copies else (view.finished, view.expected)
    whole = ProgressBar(total=max(total, 1), completed=done if total else 0, complete_style="cyan")
    bar.add_row(whole, "  ".join(_progress(view)))
    tally = Text("  ").join(Text(f"{number} {name}", COLOURS[name]) for name, number in view.counts)
    parts: list[Any] = [head, bar, tally]
    if view.running:
        parts += ["", _rows(view.running[:most], width)]
        if len(view.running) > most:
            parts.append(Text(f"and {len(view.running) - most} more", "dim"))
    for each in view.silent[:MOST_TROUBLES]:
        parts.append(Text(f"{each.name}: {_silent(each, view)}", "yellow", overflow="ellipsis", no_wrap=True))
    for each in view.troubles[:MOST_TROUBLES]:
        parts += [Text(text, "red" if number == 0 else "") for number, text in enumerate(trouble(each))]
    if len(view.troubles) > MOST_TROUBLES:
        parts.append(
            Text(
                as_given(f"  and {len(view.troubles) - MOST_TROUBLES} more: ", migratekit("wave", "show", wave.name)),
                "red",
            )
        )
    if notice:
        parts += ["", Text(notice, "yellow")]
    return Group(*parts)


def _rows(machines: tuple[MachineState, ...], width: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    rows = Table(box=None, pad_edge=False, header_style="dim", width=width)
    rows.add_column("machine", ratio=1, min_width=12, no_wrap=True, overflow="ellipsis")
    rows.add_column("task", width=9, no_wrap=True)
    rows.add_column("", justify="right", width=5, no_wrap=True)
    rows.add_column("bytes", justify="right", width=17, no_wrap=True)
    rows.add_column("rate", justify="right", width=11, no_wrap=True)
    rows.add_column("left", justify="right", width=7, no_wrap=True)
    for each in machines:
        copies = each.task == "replicate" and each.bytes_total > 0
        rows.add_row(
            Text(each.name),
            "stopping" if each.cancel_asked else each.task or "",
            f"{percent(each.bytes_done, each.bytes_total)} %" if copies else "",
            pair(each.bytes_done, each.bytes_total) if copies else "",
            human_rate(each.rate) if copies and each.rate else "",
            Text(clock(_left(each)), "cyan") if copies else "",
        )
    return rows


def _progress(view: Overview) -> list[str]:
    """Return how far a wave is, how fast, and how long yet."""
    if not view.copies:
        found = [f"{view.finished} of {view.expected}"]
    else:
        found = [f"{percent(view.done, view.total)} %" if view.total else "0 %", pair(view.done, view.total)]
        found += [human_rate(view.rate)] if view.rate else []
        found += [f"{clock(view.seconds_left)} left"] if view.seconds_left else []
    if view.seen.wave.ended_at is not None and view.seconds is not None:
        found.append(f"took {human_seconds(view.seconds)}")
    return found


def _doing(each: MachineState) -> str:
    words = ["stopping" if each.cancel_asked else DOING.get(each.task or "", "working")]
    if each.task == "replicate" and each.bytes_total:
        words += [f"{percent(each.bytes_done, each.bytes_total)} %", pair(each.bytes_done, each.bytes_total)]
        words += [human_rate(each.rate)] if each.rate else []
        words += [f"{clock(left)} left"] if (left := _left(each)) else []
    return ", ".join([*words, f"by {each.worker}"] if each.worker else words)


def _silent(each: MachineState, view: Overview) -> str:
    from migratekit_core.services.waves.view import silence

    return f"its worker {each.worker} has said nothing for {human_seconds(silence(each, view.seen))}"


def _left(each: MachineState) -> float | None:
    return (
        (each.bytes_total - each.bytes_done) / each.rate if each.rate and each.bytes_total > each.bytes_done else None
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _follow(look: Callable[[], Snapshot], over: Callable[[Snapshot], bool], output: Output, pause: float) -> Snapshot:
    from migratekit_core.common.errors import UnreachableError
    from migratekit_core.services.waves.view import overview

    before: Snapshot | None = None
    said = ""
    while True:
        try:
            seen = look()
        except UnreachableError as error:
            if before is None:
                raise
            plain.err(f"{error}: trying again")
            time.sleep(pause)
            continue
        if output is Output.TABLE:
            for line in _news(before, seen):
                plain.out(f"{datetime.now().astimezone():%H:%M:%S} {line}")
            now = headline(overview(seen))
            if now != said:
                plain.out(f"{datetime.now().astimezone():%H:%M:%S} {now}")
            said = now
        else:
            render.piece(output, SCHEMA, document(seen))
        sys.stdout.flush()
        before = seen
        if over(seen):
            return seen
        time.sleep(pause)


def _news(before: Snapshot | None, seen: Snapshot) -> Iterator[str]:
    """Yield what has become of machines since the last look."""
    known = {each.vm_id: (each.state, each.attempts) for each in before.machines} if before is not None else {}
    for each in seen.machines:
        if before is None or (each.state, each.attempts) == known.get(each.vm_id):
            continue
        if each.state == "running":
            yield f"{each.name}: {DOING.get(each.task or '', 'working')} by {each.worker}"
        elif each.state in ("failed", "skipped"):
            yield from (line.removeprefix("  ") for line in trouble(each))
        else:
            yield f"{each.name}: {each.state}"


def _live(look: Callable[[], Snapshot], over: Callable[[Snapshot], bool], pause: float) -> Snapshot:
    from migratekit_core.common.errors import UnreachableError
    from migratekit_core.services.waves.view import overview

    console = plain.console()
    seen, notice = look(), ""

    def draw() -> Any:
        view = overview(seen)
        most = max(console.height - AROUND - 3 * min(len(view.troubles), MOST_TROUBLES), 3)
        return drawn(view, console.width, most, notice)

    with Display(console, draw) as shown:
        while True:
            shown.refresh()
            if over(seen):
                return seen
            time.sleep(pause)
            try:
                before, seen, notice = seen, look(), ""
                for line in _news(before, seen):
                    console.print(line)
            except UnreachableError as error:
                notice = f"{error}: trying again"
