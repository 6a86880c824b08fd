"""Shows a running command on stderr: bars on a terminal, plain lines with a time elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migratekit_core.units import human_bytes, human_rate

if TYPE_CHECKING:
    from migratekit_core.engine.job import Progress

LINE_SECONDS = 5.0
"""How often a disk's progress makes a line where there is no terminal."""


class Lines:
    """Plain lines: for cron, logs and CI."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._lock = threading.Lock()

    def step(self, job: str, step: str, status: str) -> None:
        """Say that a step began or failed; that it ended shows in the next one."""
        if status != "completed":
            self._say(f"{job}: {step}" + ("" if status == "running" else f" {status}"))

    def progress(self, disk: str, progress: Progress) -> None:
        """Say now and then how far a disk is."""
        now = time.monotonic()
        if now - self._said.get(disk, now - LINE_SECONDS - 1) < LINE_SECONDS:
            return
        self._said[disk] = now
        percent = 100 * progress.done / progress.total if progress.total else 100
        done, total = human_bytes(progress.done), human_bytes(progress.total)
        self._say(f"{disk}: {percent:.0f} % ({done} of {total}, {human_rate(progress.rate)})")

    def note(self, message: str) -> None:
        """Say something."""
        self._say(message)

    def _say(self, text: str) -> None:
        with self._lock:
            sys.stderr.write(f"{datetime.now().astimezone():%H:%M:%S} {text}\n")
            sys.stderr.flush()


class Bars:
    """Steps as lines, and a bar for each disk below them."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}
        self._lock = threading.Lock()

    def step(self, job: str, step: str, status: str) -> None:
        """Print a step as it begins, and if it fails."""
        if status == "running":
            self._progress.console.print(f"[dim]{job}[/dim] {step}", highlight=False)
        elif status == "failed":
            self._progress.console.print(f"[dim]{job}[/dim] [red]{step} failed[/red]", highlight=False)

    def progress(self, disk: str, progress: Progress) -> None:
        """Move a disk's bar."""
        with self._lock:
            if disk not in self._tasks:
                self._tasks[disk] = self._progress.add_task(disk, total=progress.total)
            self._progress.update(self._tasks[disk], completed=progress.done, total=progress.total)

    def note(self, message: str) -> None:
        """Print something above the bars."""
        self._progress.console.print(message, highlight=False, markup=False)


@contextmanager
def watching() -> Iterator[Lines | Bars]:
    """Yield the observer that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=False) as progress:
        yield Bars(progress)
