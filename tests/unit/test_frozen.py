"""A snapshot whose disks are tracked: another one where the first has no change ids, and an end where that has none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.replication import frozen
from tests.coded import raises
from tests.unit.inventory import machine


class Source:
    """Gives out snapshots; the disks of the first `untracked` have no change id."""

    def __init__(self, untracked: int) -> None:
        self.untracked = untracked
        self.taken: list[int] = []
        self.open: list[int] = []
        self.events: list[EventKind] = []

    @contextmanager
    def held(self, *_: Any) -> Iterator[int]:
        number = len(self.taken) + 1
        self.taken.append(number)
        self.open.append(number)
        try:
            yield number
        finally:
            self.open.remove(number)

    def missing(self, snapshot: int) -> list[str]:
        return ["Hard disk 1"] if snapshot <= self.untracked else []

    def log(self, kind: EventKind, **_: Any) -> None:
        self.events.append(kind)


def taken(monkeypatch: pytest.MonkeyPatch, source: Source, *, tracked: bool) -> list[int]:
    """Return which snapshots are open within the block."""
    monkeypatch.setattr(frozen, "_held", source.held)
    monkeypatch.setattr(frozen.cbt, "missing", source.missing)
    job: Any = source
    with frozen.frozen(None, job, machine(), None, "test", tracked=tracked):  # type: ignore[arg-type]
        return list(source.open)


@pytest.mark.parametrize(
    ("untracked", "tracked", "opened", "events"),
    [(0, True, [1], []), (1, True, [2], [EventKind.TRACKING_BEGINS]), (1, False, [1], [])],
)
def test_a_snapshot_with_change_ids(
    monkeypatch: pytest.MonkeyPatch, untracked: int, tracked: bool, opened: list[int], events: list[EventKind]
) -> None:
    source = Source(untracked)
    assert taken(monkeypatch, source, tracked=tracked) == opened
    assert (source.open, source.events) == ([], events)


def test_tracking_that_does_nothing_is_said_after_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(9)
    with raises(PreconditionError, ErrorCode.CBT_IMPOSSIBLE):
        taken(monkeypatch, source, tracked=True)
    assert (source.taken, source.open) == ([1, 2], [])


def test_what_goes_wrong_in_the_block_takes_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(0)
    monkeypatch.setattr(frozen, "_held", source.held)
    monkeypatch.setattr(frozen.cbt, "missing", source.missing)
    job: Any = source
    with (
        pytest.raises(ValueError, match="x"),
        frozen.frozen(None, job, machine(), None, "test", tracked=True),  # type: ignore[arg-type]
    ):
        raise ValueError("x")
    assert (source.taken, source.open) == ([1], [])
