"""The bandwidth limit of an engine, also after it was changed. What is asked for here and what would be done otherwise
differ a thousandfold: how loaded the machine is makes no difference. `tests/unit/test_engine_rate.py` has its clock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from migratekit_core.engine.job import Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration.servers import KIB, MIB, Server

SIZE = 1 << 40
LOW, HIGH = 64 * KIB, 64 * MIB
EVENTS = 1
"""Events of progress, of a second each, that a limit is looked at for."""
Send = Callable[[dict[str, int | None]], None]


class Watch:
    """Watches a copy: some seconds at each rate, one after the other, and then the copy is stopped."""

    def __init__(self, *rates: int) -> None:
        self.first, *self._next = rates
        self.engines = Engines()
        self.send: list[Send] = []
        self._stretches: list[list[int]] = [[]]

    def __call__(self, event: Event) -> None:
        """Take an event of the engine."""
        if not isinstance(event, Progress) or len(self._stretches[-1]) > EVENTS:
            return
        self._stretches[-1].append(event.done)
        if len(self._stretches[-1]) <= EVENTS:
            return
        if self._next:
            self.send[0]({"rate": self._next.pop(0)})
            self._stretches.append([])
        else:
            self.engines.stop()

    def moved(self) -> list[int]:
        """Return how much was copied at each rate; the first event after a change is not counted."""
        return [stretch[-1] - stretch[0] for stretch in self._stretches]


def run(source: str, target: str, watch: Watch) -> list[int]:
    """Copy a disk that takes longer than is watched; return how much was copied at each rate."""
    job = Job("a disk", source, target, SIZE, False, rate=watch.first)
    with pytest.raises(KeyboardInterrupt):
        copy(job, [(0, SIZE)], watch, watch.engines, listens=watch.send.append)
    return watch.moved()


@pytest.mark.parametrize("rates", [(LOW, HIGH), (HIGH, LOW)], ids=["faster", "slower"])
def test_the_rate_is_what_was_asked(tmp_path: Path, rates: tuple[int, int]) -> None:
    here, there = tmp_path / "source.sock", tmp_path / "target.sock"
    with (
        Server(here, "nbdkit", "-f", "-r", "-U", str(here), "pattern", str(SIZE)) as source,
        Server(there, "nbdkit", "-f", "-U", str(there), "--filter=delay", "null", str(SIZE), "wdelay=20ms") as target,
    ):
        moved = dict(zip(rates, run(source.uri, target.uri, Watch(*rates)), strict=True))
    assert moved[LOW] <= 2 * MIB
    assert moved[HIGH] > 4 * MIB


def test_a_limit_holds_for_zeros_that_are_sent_as_data(tmp_path: Path) -> None:
    """A target without zero requests gets them as data: they cross the link and count."""
    here, there = tmp_path / "source.sock", tmp_path / "target.sock"
    with (
        Server(here, "nbdkit", "-f", "-r", "-U", str(here), "memory", str(SIZE)) as source,
        Server(there, "nbdkit", "-f", "-U", str(there), "--filter=nozero", "null", str(SIZE)) as target,
    ):
        (moved,) = run(source.uri, target.uri, Watch(LOW))
    assert moved <= 2 * MIB
