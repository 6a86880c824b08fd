"""Counts from outside what the fleet does: the processes of this machine, the volumes' files, the rows.

What is counted is what is there at one moment: a process that is seen before and after all others were looked at.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from migratekit_core.services.waves.model import Wave
from migratekit_core.services.waves.places import needs
from tests.integration.support import MARK, sql
from tests.lab.lab import Lab
from tests.lab.parts.process import started

CHILD = "migratekit_core.services.fleet.child"
LOOK_SECONDS = 0.05
WINDOW_SECONDS = 4.0


@dataclass(frozen=True)
class Seen:
    """The process of one machine."""

    pid: int
    parent: int = field(compare=False)
    """Its worker; 1 where that has died."""
    began: str
    task: str
    name: str


@dataclass
class Counts:
    """What was seen."""

    looks: int = 0
    most: Counter[str] = field(default_factory=Counter)
    """Most machines at a time, by place."""
    most_machines: int = 0
    violations: list[str] = field(default_factory=list)
    most_granted: int = 0
    """Bytes per second that all together might send."""
    most_written: float = 0.0
    """Bytes per second that came on the volumes, over a few seconds."""


def processes(lab: Lab) -> list[Seen]:
    """Return the machines' processes of this lab."""
    mark = f"{MARK}={lab.run}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if CHILD in command and mark in (entry / "environ").read_bytes().split(b"\0"):
                *_, task, name, _ = command
                found.append(Seen(int(entry.name), parent(int(entry.name)), started(int(entry.name)), task, name))
    there = [each for each in found if each.began and started(each.pid) == each.began]
    # A copy of a machine's process on its way to become an engine, say, is none: until then it has the same command.
    pids = {each.pid for each in there}
    return [each for each in there if each.parent not in pids]


def parent(pid: int) -> int:
    """Return the parent of a process; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


class Watch:
    """Looks all the time."""

    def __init__(self, lab: Lab, wave: Wave) -> None:
        self._lab = lab
        self._wave = wave
        self._machines = {each.name: each for each in wave.machines}
        self._volumes = lab.run / "cloud" / "volumes"
        self.counts = Counts()
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._written: list[tuple[float, int]] = []

    def run(self) -> None:
        """Look until the end."""
        slow = 0.0
        while not self._ended.wait(LOOK_SECONDS):
            self._look()
            if time.monotonic() - slow > 0.5:
                slow = time.monotonic()
                self._look_at_bandwidth()

    def stop(self) -> None:
        """End it."""
        self._ended.set()

    def _look(self) -> None:
        seen = processes(self._lab)
        self.counts.looks += 1
        self.counts.most_machines = max(self.counts.most_machines, len(seen))
        twice = [name for name, number in Counter(each.name for each in seen).items() if number > 1]
        if twice:
            self._violated(f"two processes at a time: {twice}: {seen}")
        taken: Counter[str] = Counter()
        most: dict[str, int] = {}
        for each in seen:
            for need in needs(self._machines[each.name], self._wave.limits, each.task):
                taken[need.name] += 1
                most[need.name] = need.most
        for name, number in taken.items():
            self.counts.most[name] = max(self.counts.most[name], number)
            if number > most[name]:
                self._violated(f"{name}: {number} of {most[name]}: {seen}")

    def _violated(self, what: str) -> None:
        self.counts.violations.append(f"after {time.monotonic() - self._began:.2f} s: {what}")

    def _look_at_bandwidth(self) -> None:
        with contextlib.suppress(OSError):
            size = sum(path.stat().st_blocks * 512 for path in self._volumes.glob("*.raw"))
            now = time.monotonic()
            self._written = [(at, was) for at, was in self._written if now - at < 3 * WINDOW_SECONDS] + [(now, size)]
            for at, was in self._written:
                if now - at >= WINDOW_SECONDS:
                    self.counts.most_written = max(self.counts.most_written, (size - was) / (now - at))
        total = self._wave.limits.bandwidth
        if total is None:
            return
        with contextlib.suppress(Exception):  # MariaDB may be too busy; the next look is soon
            fresh = "renewed_at > UTC_TIMESTAMP(6) - INTERVAL 6 SECOND"
            (row,) = sql(self._lab, f"SELECT SUM(granted) AS granted FROM fleet_grants WHERE token <> '' AND {fresh}")
            granted = int(row["granted"] or 0)
            self.counts.most_granted = max(self.counts.most_granted, granted)
            if granted > total:
                self._violated(f"granted {granted} of {total}")


@contextmanager
def watching(lab: Lab, wave: Wave) -> Iterator[Counts]:
    """Watch as long as the block runs."""
    watch = Watch(lab, wave)
    thread = threading.Thread(target=watch.run, daemon=True)
    thread.start()
    try:
        yield watch.counts
    finally:
        watch.stop()
        thread.join(10)
