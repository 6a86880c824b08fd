"""The bandwidth limit of an engine, on the clock: within 5 % of what was asked, also after it was changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from migratekit_core.engine.job import Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import MIB, Server

SIZE = 4096 * MIB
SECONDS = 3.0
TOLERANCE = 0.05
Send = Callable[[dict[str, int | None]], None]


class Clock:
    """Watches a copy: a stretch of SECONDS at each rate, one after the other, and then the copy is stopped."""

    def __init__(self, *rates: int) -> None:
        self.first, *self._next = rates
        self.rates = rates
        self.engines = Engines()
        self.send: list[Send] = []
        self._stretches: list[list[tuple[float, int]]] = [[]]

    def __call__(self, event: Event) -> None:
        """Take an event of the engine."""
        if not isinstance(event, Progress) or len(self._stretches) > len(self.rates):
            return
        stretch = self._stretches[-1]
        stretch.append((time.monotonic(), event.done))
        if stretch[-1][0] - stretch[0][0] < SECONDS:
            return
        self._stretches.append([])
        if self._next:
            self.send[0]({"rate": self._next.pop(0)})
        else:
            self.engines.stop()

    def check(self) -> None:
        """Compare what was measured with what was asked."""
        for rate, stretch in zip(self.rates, self._stretches, strict=False):
            (began, first), (ended, last) = stretch[0], stretch[-1]
            assert (last - first) / (ended - began) == pytest.approx(rate, rel=TOLERANCE)


def run(source: str, target: str, clock: Clock) -> None:
    """Copy a disk that takes longer than the clock runs."""
    job = Job("a disk", source, target, SIZE, False, rate=clock.first)
    with pytest.raises(KeyboardInterrupt):
        copy(job, [(0, SIZE)], clock, clock.engines, listens=clock.send.append)
    clock.check()


@pytest.mark.parametrize("rates", [(16 * MIB, 48 * MIB), (64 * MIB, 24 * MIB)], ids=["faster", "slower"])
def test_the_rate_is_what_was_asked(tmp_path: Path, rates: tuple[int, int]) -> None:
    here, there = tmp_path / "source.sock", tmp_path / "target.sock"
    with (
        Server(here, "nbdkit", "-f", "-r", "-U", str(here), "pattern", str(SIZE)) as source,
        Server(there, "nbdkit", "-f", "-U", str(there), "--filter=delay", "null", str(SIZE), "wdelay=20ms") as target,
    ):
        run(source.uri, target.uri, Clock(*rates))


def test_a_limit_holds_for_zeros_that_are_sent_as_data(tmp_path: Path) -> None:
    """A target without zero requests gets them as data: they cross the link and count."""
    here, there = tmp_path / "source.sock", tmp_path / "target.sock"
    with (
        Server(here, "nbdkit", "-f", "-r", "-U", str(here), "memory", str(SIZE)) as source,
        Server(there, "nbdkit", "-f", "-U", str(there), "--filter=nozero", "null", str(SIZE)) as target,
    ):
        run(source.uri, target.uri, Clock(32 * MIB))
