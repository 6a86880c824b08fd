"""The bandwidth limit, on a clock of its own: what is sent in the long run is what was asked for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migratekit_core.common.units import KIB, MIB
from migratekit_core.engine.rate import RateLimit, piece_size


def sent(limit: RateLimit, start: float, seconds: float, sizes: list[int]) -> int:
    """Send pieces of `sizes` in turn, as soon as each may be, and return the bytes that went out."""
    now, total, number = start, 0, 0
    while now < start + seconds:
        size = sizes[number % len(sizes)]
        delay = limit.delay(now, size)
        if delay > 0:
            # Whoever waits does so for a millisecond at least.
            now += max(delay, 0.001)
            continue
        limit.spend(size)
        total += size
        number += 1
        # Sending takes a moment too, far less than the limit allows.
        now += size / (64 * 1024 * MIB)
    return total


@settings(max_examples=50)
@given(
    st.integers(1 * MIB, 1024 * MIB),
    st.lists(st.integers(4 * KIB, 1 * MIB), min_size=1, max_size=5),
    st.floats(0, 1e6),
)
def test_the_long_run_rate_is_the_limit(rate: int, sizes: list[int], start: float) -> None:
    # At least 100 of the largest pieces: a single one does not decide.
    seconds = max(2.0, 100 * MIB / rate)
    # Pieces of a millisecond at least: thousands of rounds, not millions.
    sizes = [max(size, rate // 1000) for size in sizes]
    total = sent(RateLimit(rate, start), start, seconds, sizes)
    assert total == pytest.approx(rate * seconds, rel=0.05)


def test_after_a_pause_at_most_a_burst_is_made_up_for() -> None:
    rate = 8 * MIB
    limit = RateLimit(rate, 0.0)
    sent(limit, 0.0, 10.0, [64 * KIB])
    # An hour of nothing.
    total = sent(limit, 3610.0, 1.0, [64 * KIB])
    assert total <= rate * 1.3


def test_nothing_is_saved_up_before_the_first_byte() -> None:
    assert sent(RateLimit(8 * MIB, 0.0), 0.0, 1.0, [64 * KIB]) <= 8 * MIB


@pytest.mark.parametrize("seconds", [1.0, 3.9, 4.1])
def test_a_piece_larger_than_a_second_of_the_limit_waits_until_it_is_paid_for(seconds: float) -> None:
    assert sent(RateLimit(256 * KIB, 0.0), 0.0, seconds, [MIB]) == (MIB if seconds > 4 else 0)


def test_limits_that_change_all_the_time_neither_add_up_nor_keep_a_piece_waiting_forever() -> None:
    limit, total, now = RateLimit(100 * KIB, 0.0), 0, 0.0
    for number in range(400):
        now += 0.1
        if not limit.delay(now, MIB):
            limit.spend(MIB)
            total += MIB
        limit.change((200 if number % 2 else 100) * KIB, now)
    assert total == 40 * 150 * KIB // MIB * MIB


@pytest.mark.parametrize(
    ("rate", "size"), [(None, MIB), (64 * KIB, 64 * KIB), (512 * KIB, 128 * KIB), (5 * MIB, MIB), (MIB, 256 * KIB)]
)
def test_pieces_are_small_under_a_low_limit(rate: int | None, size: int) -> None:
    assert piece_size(rate, MIB) == size


def test_a_limit_binds_while_somebody_waits_for_it_and_a_moment_longer() -> None:
    limit = RateLimit(10 * MIB, 0.0)
    assert not limit.binds(0.0)
    assert limit.delay(0.05, MIB) > 0 and limit.binds(0.05) and limit.binds(1.0)
    assert limit.delay(1.0, MIB) == 0 and not limit.binds(1.1)
    limit.delay(1.2, 20 * MIB)
    limit.change(None, 1.2)
    assert not limit.binds(1.2)


def test_without_a_limit_nothing_waits() -> None:
    limit = RateLimit(None, 0.0)
    for _ in range(100):
        limit.spend(2**40)
        assert limit.delay(0.0, 2**40) == 0.0
