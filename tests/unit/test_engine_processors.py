"""A thread on its share of the processors."""

from __future__ import annotations

import os
import threading

import pytest

from migratekit_core.engine import processors


def shares(of: int) -> list[set[int]]:
    """Return the processors that threads run on which keep to a share each."""
    kept: list[set[int]] = []

    def run(share: int) -> None:
        processors.keep_to(share, of)
        kept.append(os.sched_getaffinity(0))

    for share in range(of):
        thread = threading.Thread(target=run, args=(share,))
        thread.start()
        thread.join()
    return kept


def test_every_processor_is_in_one_share_and_everybody_else_keeps_all() -> None:
    allowed = os.sched_getaffinity(0)
    if len(allowed) < 2:
        assert shares(2) == [allowed, allowed]
        return
    first, second = shares(2)
    assert first and second and not first & second
    assert first | second == allowed == os.sched_getaffinity(0)


def test_uneven_numbers_leave_nobody_without(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[int]] = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 6, 8, 9})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, mask: given.append(list(mask)))
    assert all(processors.keep_to(share, 2) for share in range(2))
    assert given == [[3, 5], [6, 8, 9]]


def test_too_few_processors_are_everybodys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3})
    assert not processors.keep_to(0, 2)


def test_a_host_that_forbids_it_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, mask: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", refuse)
    assert not processors.keep_to(0, 2)
