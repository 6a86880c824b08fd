"""How a bandwidth limit is written, and how disks share it."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.common.units import KIB, MIB, parse_rate
from migratekit_core.config.schema import Replication
from migratekit_core.engine import bandwidth as shared
from migratekit_core.engine.bandwidth import Bandwidth, Limits, shares
from migratekit_core.engine.rate import BURST_SECONDS, RateLimit, piece_size


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("50M", 50 * MIB),
        ("1.5g", 1536 * MIB),
        ("200k", 200 * 1024),
        ("400Mbit", 50_000_000),
        ("1gbit", 125_000_000),
        ("70000", 70_000),
        ("none", None),
    ],
)
def test_rates(text: str, rate: int | None) -> None:
    assert parse_rate(text) == rate
    assert Replication.model_validate({"bandwidth": text}).bandwidth == rate


@pytest.mark.parametrize("text", ["", "fast", "50MB/s", "-1M", "0", "63k", "1bit", "5T"])
def test_no_rates(text: str) -> None:
    with pytest.raises(ValueError, match=r"no rate|lowest limit"):
        parse_rate(text)
    with pytest.raises(ValueError, match="bandwidth"):
        Replication.model_validate({"bandwidth": text})


@given(
    st.integers(1, 10_000) | st.none(),
    st.integers(1, 10_000) | st.none(),
    st.dictionaries(st.text(max_size=3), st.floats(1, 20_000) | st.just(float("inf")), min_size=1, max_size=6),
)
def test_shares_never_exceed_either_limit_and_leave_nothing_unused(
    total: int | None, disk: int | None, wants: dict[str, float]
) -> None:
    given = shares(Limits(total, disk), wants)
    assert given.keys() == wants.keys()
    if total is None:
        assert set(given.values()) == {disk}
        return
    amounts = {name: share for name, share in given.items() if share is not None}
    assert amounts.keys() == wants.keys()
    # A share is whole bytes, and at least one.
    assert sum(amounts.values()) <= total + len(wants)
    for name, share in amounts.items():
        assert share <= min(wants[name], disk or float("inf"))
        if share < min(wants[name], disk or float("inf")) - 1:
            # Whoever gets less than it wants gets no less than any other, and the total is used up.
            assert share >= max(amounts.values()) - 1
            assert sum(amounts.values()) >= total - len(wants)


def test_a_share_goes_to_the_others_when_a_disk_ends_or_cannot_use_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migratekit_core.engine.bandwidth.SETTLE_SECONDS", 0.0)
    told: dict[str, list[int | None]] = {"one": [], "two": []}
    bandwidth = Bandwidth(Limits(total=1000))
    assert bandwidth.join("one") == 1000
    assert bandwidth.join("two") == 500
    for name in told:
        bandwidth.listen(name, lambda command, name=name: told[name].append(command["rate"]))
    bandwidth.used("one", 500.0)
    bandwidth.used("two", 100.0)  # a slow source
    assert (told["one"][-1], told["two"][-1]) == (800, 200)
    bandwidth.used("two", 200.0)  # it has become faster
    assert (told["one"][-1], told["two"][-1]) == (500, 500)
    bandwidth.change(Limits(total=None, disk=300))
    assert (told["one"][-1], told["two"][-1]) == (300, 300)
    bandwidth.change(Limits())
    assert (told["one"][-1], told["two"][-1]) == (None, None)
    bandwidth.change(Limits(total=1000))
    bandwidth.leave("two")
    assert told["one"][-1] == 1000


@dataclass
class Engine:
    """A copy that never lacks data, on a clock of its own: it hears late of its share, and pauses now and then."""

    limit: RateLimit
    piece: int
    late: int
    """How many turns it takes until it hears what it was told."""
    told: list[int | None] = field(default_factory=list)
    asleep_until: float = 0.0
    sent: int = 0

    def tell(self, command: dict[str, int | None]) -> None:
        """Send it a command."""
        self.told += [self.limit.bytes_per_second] * self.late
        self.told.append(command["rate"])

    def turn(self, now: float) -> None:
        """Send what may be sent now, then look at what was told: in the order of the engine's own loop."""
        if now < self.asleep_until:
            return
        while not self.limit.delay(now, self.piece):
            self.limit.spend(self.piece)
            self.sent += self.piece
        if self.told:
            self.limit.change(self.told.pop(0), now)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("total", [256 * KIB, 512 * KIB, 16 * MIB])
def test_disks_together_keep_to_the_total_from_the_first_second_on(
    total: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a loaded machine: engines start one after the other, stand still for seconds, and hear of things late."""
    rng, clock = random.Random(seed), 0.0
    monkeypatch.setattr(shared, "time", SimpleNamespace(monotonic=lambda: clock))
    bandwidth, engines, before = Bandwidth(Limits(total=total)), dict[str, Engine](), dict[str, int]()
    seconds = [0]
    for step in range(30 * 50):
        clock = step / 50
        if step % 40 == 0 and len(engines) < 3:
            name = f"disk {len(engines)}"
            share = bandwidth.join(name)
            engine = engines[name] = Engine(RateLimit(share, clock), piece_size(share, MIB), rng.choice([0, 1, 5]))
            bandwidth.listen(name, engine.tell)
        for engine in engines.values():
            if rng.random() < 0.003:
                engine.asleep_until = clock + rng.choice([0.3, 1.5, 3.0])
            engine.turn(clock)
        if step % 50 == 49:
            for name, engine in engines.items():
                bandwidth.used(name, engine.sent - before.get(name, 0))
                before[name] = engine.sent
            seconds.append(sum(before.values()))
    # What a disk that stood still has not heard of is at most a burst: no second is off by more, nor does it add up.
    assert seconds[-1] <= total * 30 * 1.05
    assert all(later - earlier <= total * (1 + 2 * BURST_SECONDS) for earlier, later in itertools.pairwise(seconds))
    assert seconds[1] <= total
    assert seconds[-1] >= total * 30 * 0.5
