"""Carriers or the loop: whoever moves more goes on."""

from __future__ import annotations

import pytest

from migratekit_core.common.units import MIB
from migratekit_core.engine.pace import COMPARE_SECONDS, FIRST_PAUSE, LONGEST_PAUSE, SPAN_BYTES, Pace

LOOK = 0.02


class Copy:
    """A copy whose loop and carriers have rates of their own, in MiB per second, looked at every 20 ms."""

    def __init__(self, loop: float, carriers: float, likely: bool = False) -> None:
        self.loop, self.carriers, self.likely = loop, carriers, likely
        self.now, self.moved, self.carrying = 100.0, 0.0, False
        self.pace = Pace(self.now)
        self.carried = 0.0
        """Seconds."""

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK
            self.moved += (self.carriers if self.carrying else self.loop) * MIB * LOOK
            self.carried += LOOK * self.carrying
            self.carrying = self.pace.carry(self.now, int(self.moved), self.carrying, self.likely)


def test_faster_carriers_go_on() -> None:
    copy = Copy(1000, 1300)
    copy.run(10)
    assert copy.carrying
    assert copy.carried > 9.8


@pytest.mark.parametrize("carriers", [800, 400, 10])
def test_slower_carriers_are_tried_ever_more_seldom(carriers: float) -> None:
    copy = Copy(1000, carriers)
    copy.run(60)
    # 1, 2, 4, 8, 16 and 32 seconds apart.
    assert 0 < copy.carried < 6 * 0.4
    copy.run(600)
    assert copy.carried < 600 / LONGEST_PAUSE * 0.4 + 6 * 0.4


def test_carriers_that_become_slow_make_way_and_come_back() -> None:
    copy = Copy(1000, 1300)
    copy.run(1)
    copy.carriers = 300
    copy.run(0.3)
    assert not copy.carrying
    copy.carriers = 1300
    copy.run(FIRST_PAUSE + 0.3)
    assert copy.carrying


def test_a_single_slow_span_is_no_reason() -> None:
    copy = Copy(1000, 1300)
    copy.run(1)
    copy.carriers = 800
    copy.run(SPAN_BYTES / MIB / 800)
    copy.carriers = 1300
    copy.run(5)
    assert copy.carrying
    assert copy.carried > 5.8


def test_carriers_that_hang_make_way() -> None:
    copy = Copy(1000, 1300)
    copy.run(1)
    copy.carriers = 0
    copy.run(0.3)
    assert not copy.carrying


def test_carriers_that_are_likely_faster_begin() -> None:
    copy = Copy(1000, 1300, likely=True)
    copy.run(LOOK)
    assert copy.carrying
    copy.run(COMPARE_SECONDS - 2 * LOOK)
    assert copy.carried >= COMPARE_SECONDS - 3 * LOOK
    copy.run(10)
    assert copy.carrying
    # Compared once.
    assert 9.8 < copy.carried - COMPARE_SECONDS < 10


@pytest.mark.parametrize("carriers", [500, 0])
def test_those_that_are_not_make_way_once_they_were_compared(carriers: float) -> None:
    copy = Copy(1000, carriers, likely=True)
    copy.run(COMPARE_SECONDS + 0.5)
    assert not copy.carrying
    copy.run(60)
    assert copy.carried < COMPARE_SECONDS + 6 * 0.4


@pytest.mark.parametrize("likely", [False, True])
def test_nothing_is_compared_with_a_loop_that_moves_nothing(likely: bool) -> None:
    copy = Copy(0, 0, likely=likely)
    copy.run(COMPARE_SECONDS + 5)
    assert not copy.carrying
    # A target that was away is back.
    copy.loop, copy.carriers = 1000, 1300
    copy.run(1)
    assert copy.carrying
    copy.carriers = 0
    copy.run(0.5)
    assert not copy.carrying
