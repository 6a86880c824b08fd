"""Shows a running command on stderr: bars on a terminal, plain lines with a time elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migratekit_cli.ui import plain
from migratekit_cli.ui.display import Display
from migratekit_cli.ui.eta import Eta
from migratekit_core.common.units import human_bytes, human_rate, human_seconds
from migratekit_core.common.visible import one_line

if TYPE_CHECKING:
    from migratekit_core.engine.job import Progress

LINE_SECONDS = 5.0
"""How often a disk's progress makes a line where there is no terminal."""
BARS_PER_SECOND = 10.0
ALL = "all disks"


class Pace:
    """How far each disk of a run is, and all of them together."""

    def __init__(self) -> None:
        self._expected: frozenset[str] = frozenset()
        self.disks: dict[str, Eta] = {}
        self.all = Eta()

    def expect(self, disks: Sequence[str]) -> None:
        """Take which disks there will be."""
        self._expected = frozenset(disks)
        self.all = Eta()

    @property
    def several(self) -> bool:
        """Return whether there is more than one disk, so that a sum says more."""
        return len(self._expected) > 1

    def update(self, disk: str, done: int, total: int) -> Eta:
        """Take how far a disk is; return its pace."""
        eta = self.disks.setdefault(disk, Eta())
        eta.update(done, total)
        if disk in self._expected:
            held = [self.disks[name] for name in self._expected if name in self.disks]
            self.all.update(sum(one.done for one in held), sum(one.total for one in held))
        return eta

    def left(self, eta: Eta) -> str:
        """Return how long a disk, or all, will still take, as text; empty where nobody knows."""
        if eta is self.all and not self._expected <= self.disks.keys():
            return ""  # how much there is to do on the others is not known before they begin
        seconds = eta.seconds()
        return "" if seconds is None else f"{human_seconds(seconds)} left"


class Lines:
    """Plain lines: for cron, logs and CI."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._pace = Pace()
        self._lock = threading.Lock()

    def step(self, job: str, step: str, status: str) -> None:
        """Say that a step began or failed; that it ended shows in the next one."""
        if status != "completed":
            self.note(f"{job}: {step}" + ("" if status == "running" else f" {status}"))

    def expect(self, disks: Sequence[str]) -> None:
        """Take which disks there will be."""
        with self._lock:
            self._pace.expect(disks)

    def progress(self, disk: str, progress: Progress) -> None:
        """Say now and then how far a disk is, and all of them."""
        with self._lock:
            eta = self._pace.update(disk, progress.done, progress.total)
            self._now_and_then(disk, eta, progress.rate)
            if self._pace.several:
                self._now_and_then(ALL, self._pace.all, self._pace.all.rate())

    def note(self, message: str) -> None:
        """Say something."""
        with self._lock:
            self._say(message)

    def _now_and_then(self, what: str, eta: Eta, rate: float | None) -> None:
        now = time.monotonic()
        if now - self._said.get(what, now - LINE_SECONDS - 1) < LINE_SECONDS:
            return
        self._said[what] = now
        percent = 100 * eta.done / eta.total if eta.total else 100
        parts = [f"{human_bytes(eta.done)} of {human_bytes(eta.total)}"]
        parts += [human_rate(rate)] if rate is not None else []
        left = self._pace.left(eta)
        self._say(f"{what}: {percent:.0f} % ({', '.join(parts + [left] * bool(left))})")

    def _say(self, text: str) -> None:
        plain.err(f"{datetime.now().astimezone():%H:%M:%S} {one_line(text)}")
        sys.stderr.flush()


class Bars:
    """Steps as lines, and a bar for each disk below them, and one for all where there are several.

    `display` is begun with the first bar: before there is one, nothing is drawn.
    """

    def __init__(self, progress: Any, display: Display) -> None:
        self._progress = progress
        self._display = display
        self._tasks: dict[str, Any] = {}
        self._pace = Pace()
        self._lock = threading.Lock()

    def step(self, job: str, step: str, status: str) -> None:
        """Print a step as it begins, and if it fails."""
        from rich.text import Text

        said = {"running": (step, ""), "failed": (f"{step} failed", "red")}.get(status)
        if said is not None:
            self._progress.console.print(Text.assemble((job, "dim"), " ", said))

    def expect(self, disks: Sequence[str]) -> None:
        """Take which disks there will be."""
        with self._lock:
            self._pace.expect(disks)

    def progress(self, disk: str, progress: Progress) -> None:
        """Move a disk's bar, and that of all."""
        with self._lock:
            self._move(disk, self._pace.update(disk, progress.done, progress.total))
            if self._pace.several:
                self._move(ALL, self._pace.all)

    def note(self, message: str) -> None:
        """Print something above the bars."""
        self._progress.console.print(message)

    def end(self) -> None:
        """Show the bars no more; the last ones stay."""
        self._display.end()

    def _move(self, what: str, eta: Eta) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=eta.total, rate="", left="")
        rate = eta.rate()
        fields = {"rate": human_rate(rate) if rate is not None else "", "left": self._pace.left(eta)}
        self._progress.update(self._tasks[what], completed=eta.done, total=eta.total, **fields)
        self._display.begin()


def bars(console: Any) -> Bars:
    """Return Bars on a rich console, whose display the caller ends."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
    )
    progress = Progress(*columns, console=console)
    # Its own live display is never begun: it would not make room for a question.
    return Bars(progress, Display(console, progress.get_renderable, per_second=BARS_PER_SECOND))


@contextmanager
def watching() -> Iterator[Lines | Bars]:
    """Yield the observer that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    shown = bars(plain.console(stderr=True))
    try:
        yield shown
    finally:
        shown.end()
