"""What a report of a wave says: its file, its machines, every attempt, and how fast it was over time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import Engine

from migratekit_core.db.wavestates import REPLICATE
from migratekit_core.services.waves.look import Attempt, Snapshot, attempts, snapshot
from migratekit_core.services.waves.model import Wave
from migratekit_core.services.waves.store import find

PARTS = 60
"""Pieces that the time of the copies is cut into."""


@dataclass(frozen=True)
class Moment:
    """A piece of time, and what was copied in it on average: bytes per second, and copies at once."""

    at: datetime
    seconds: float
    rate: float
    copies: float


@dataclass(frozen=True)
class WaveReport:
    """The whole."""

    wave: Wave
    seen: Snapshot
    attempts: tuple[Attempt, ...]
    throughput: tuple[Moment, ...]

    @property
    def copied(self) -> int:
        """Return the bytes of all copies, those that failed, too."""
        return sum(each.bytes_done for each in self.attempts if each.task == REPLICATE)

    @property
    def copy_seconds(self) -> float:
        """Return for how long it was copied, from the first copy to the last."""
        return sum(each.seconds for each in self.throughput)

    @property
    def rate(self) -> float | None:
        """Return bytes per second from the first copy to the last."""
        return self.copied / self.copy_seconds if self.copy_seconds else None


def collect(engine: Engine, name: str) -> WaveReport:
    """Return the report of a wave. Raises PreconditionError where there is none of this name."""
    _, wave = find(engine, name)
    seen = snapshot(engine, name)
    tries = attempts(engine, name)
    return WaveReport(wave, seen, tries, throughput(tries, seen.now))


def throughput(tries: Sequence[Attempt], now: datetime, parts: int = PARTS) -> tuple[Moment, ...]:
    """Return how fast it was over time: each copy counts evenly from its begin to its end."""
    spans = [
        (each.started_at, each.ended_at or now, each.bytes_done)
        for each in tries
        if each.task == REPLICATE and (each.ended_at or now) > each.started_at
    ]
    if not spans:
        return ()
    begin, end = min(span[0] for span in spans), max(span[1] for span in spans)
    step = (end - begin) / parts
    # A wave of less than some microseconds cannot be cut.
    edges = [begin + step * number for number in range(parts)] + [end] if step > timedelta() else [begin, end]
    found = []
    for first, last in pairwise(edges):
        seconds = (last - first).total_seconds()
        moved = busy = 0.0
        for started, ended, size in spans:
            shared = (min(ended, last) - max(started, first)).total_seconds()
            if shared > 0:
                busy += shared
                moved += size * shared / (ended - started).total_seconds()
        found.append(Moment(first, seconds, moved / seconds, busy / seconds))
    return tuple(found)
