"""Sizes, rates and times as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.common.units import GIB, KIB, MIB, human_bytes, human_rate, human_seconds, round_up


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1.0 KiB"),
        (1536 * MIB, "1.5 GiB"),
        (GIB, "1.0 GiB"),
        (1024 * GIB, "1.0 TiB"),
        (5000 * 1024 * GIB, "5000.0 TiB"),
        (-2 * MIB, "-2.0 MiB"),
    ],
)
def test_bytes(size: int, text: str) -> None:
    assert human_bytes(size) == text
    assert human_rate(size) == f"{text}/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (4.24, "4.2 s"), (60, "1 min 0 s"), (185, "3 min 5 s"), (3600, "1 h 0 min"), (7800, "2 h 10 min")],
)
def test_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(59.97, "1 min 0 s"), (3599.9, "1 h 0 min")])
def test_seconds_that_round_to_the_next_unit(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@given(st.integers(0, 2**63), st.integers(1, 2**40))
def test_round_up_is_the_smallest_multiple_that_holds_it(size: int, unit: int) -> None:
    rounded = round_up(size, unit)
    assert rounded % unit == 0
    assert size <= rounded < size + unit
