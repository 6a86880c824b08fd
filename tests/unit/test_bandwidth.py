"""How a bandwidth limit is written, and how disks share it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.common.units import MIB, parse_rate
from migratekit_core.config.schema import Replication
from migratekit_core.engine.bandwidth import Bandwidth, Limits, shares


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
