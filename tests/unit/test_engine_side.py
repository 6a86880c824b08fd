"""One end of a copy: which connections are used, lent and opened again, without any server."""

from __future__ import annotations

from typing import cast

import pytest

from migratekit_core.engine import side as module
from migratekit_core.engine.endpoint import Connection
from migratekit_core.engine.side import Side


class Plug:
    """A connection that is what the test says it is."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.reason = ""
        self.served = self.missed = self.dead = False

    def usable(self) -> bool:
        return not self.dead

    def broken(self) -> bool:
        return self.dead

    def close(self) -> None:
        self.dead = True


def side(count: int, monkeypatch: pytest.MonkeyPatch) -> Side:
    """Return a side with `count` connections."""
    made = Side("nbd://nowhere", "a side", 1.0, lambda: cast(Connection, Plug()))
    monkeypatch.setattr(module.endpoint, "open_one", lambda *_: FirstOne())
    monkeypatch.setattr(module.endpoint, "abilities", lambda _: None)
    monkeypatch.setattr(module.endpoint, "open_some", lambda connect, _, many: [connect() for _ in range(many)])
    made.open(count)
    return made


def requests(used: Side, count: int) -> list[int]:
    """Send requests; return how many each connection has on its way then."""
    for _ in range(count):
        picked = used.pick()
        assert picked is not None
        picked.in_flight += 1
    return [held.in_flight for held in used.connections]


class FirstOne(Plug):
    def close(self) -> None:
        pass


def test_one_that_is_spared_is_not_replaced_and_counts_again_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    source = side(2, monkeypatch)
    spared = source.spare()
    assert spared is not None and spared not in source.ready
    source.widen(2)
    source.mend(100.0)
    assert len(source.connections) == 1
    source.give_back(spared)
    source.refresh()
    assert spared in source.ready and len(source.connections) == 2
    assert source.spare() is not None
    assert source.spare() is None, "one is always left"


@pytest.mark.parametrize("broken", [0, 1])
def test_one_that_breaks_is_replaced_whichever_it_was(monkeypatch: pytest.MonkeyPatch, broken: int) -> None:
    source = side(2, monkeypatch)
    spared = source.spare()
    assert spared is not None
    both = (source.connections[0], spared)
    cast(Plug, both[broken]).dead = True
    source.give_back(spared)
    source.mend(100.0)
    assert len(source.ready) == 1
    source.mend(101.0)
    assert len(source.ready) == 2 and both[broken] not in source.connections


def test_what_is_reserved_is_left_alone_and_lent(monkeypatch: pytest.MonkeyPatch) -> None:
    target = side(6, monkeypatch)
    target.reserve(4)
    assert requests(target, 8) == [4, 4, 0, 0, 0, 0]
    lent = target.lend(4)
    assert list(lent) == target.connections[2:]
    assert target.kept() == target.connections[:2]
    # Nothing is reserved any more once it was lent and is back.
    target.take_back()
    assert target.pick() in lent


def test_few_connections_are_used_even_where_all_are_reserved(monkeypatch: pytest.MonkeyPatch) -> None:
    target = side(3, monkeypatch)
    target.reserve(8)
    assert requests(target, 2) == [1, 1, 0]
