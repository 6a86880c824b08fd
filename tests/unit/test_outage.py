"""One budget for an outage, whoever waits: a line when it begins and when it is over."""

from __future__ import annotations

import time

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.db.outage import Outage

GONE = UnreachableError("MariaDB does not answer", "refused", "look", code=ErrorCode.DATABASE_UNREACHABLE)
BUSY = UnreachableError("MariaDB is too busy", "deadlock", "wait", code=ErrorCode.DATABASE_BUSY)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time, to be moved."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_writes_share_one_budget(clock: list[float]) -> None:
    outage = Outage(180)
    assert outage.pause(GONE, 1) is not None
    clock[0] += 170
    # Another write, which has waited for nothing yet.
    assert outage.pause(GONE, 1) is not None
    clock[0] += 10
    assert outage.pause(GONE, 1) is None
    clock[0] += 1000
    assert outage.pause(GONE, 1) is None, "each is tried once from now on"


def test_the_budget_is_whole_again_when_the_server_is_back(clock: list[float]) -> None:
    outage = Outage(180)
    outage.pause(GONE, 1)
    clock[0] += 179
    outage.over()
    clock[0] += 10
    assert outage.pause(GONE, 1) is not None
    clock[0] += 179
    assert outage.pause(GONE, 2) == pytest.approx(0.4), "a second is left"


def test_pauses_grow_but_end_with_the_budget(clock: list[float]) -> None:
    outage = Outage(7)
    assert [outage.pause(GONE, number) for number in (1, 2, 3, 6)] == [0.2, 0.4, 0.8, 5.0]
    clock[0] += 6.9
    assert outage.pause(GONE, 7) == pytest.approx(0.1)


def test_it_is_told_once_that_it_begins_and_once_that_it_is_over(clock: list[float]) -> None:
    said: list[str] = []
    outage = Outage(180, said.append)
    for number in range(1, 5):
        outage.pause(GONE, number)
    assert len(said) == 1
    outage.over()
    outage.over()
    assert len(said) == 2


def test_a_deadlock_is_no_news(clock: list[float]) -> None:
    said: list[str] = []
    outage = Outage(180, said.append)
    outage.pause(BUSY, 1)
    outage.over()
    assert said == []
    outage.pause(BUSY, 1)
    clock[0] += 10
    outage.pause(BUSY, 2)
    assert len(said) == 1, "one that lasts is"
