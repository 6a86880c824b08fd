"""Areas of a disk, compared with the plainest model there is: a set of bytes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migratekit_core.engine.areas import Areas, aligned, normalise, with_gaps

PAIRS = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 40)), max_size=12)
GRANULES = st.sampled_from([1, 2, 3, 8, 16])


def covered(areas: Areas) -> set[int]:
    return {byte for begin, end in areas for byte in range(begin, end)}


def expected(pairs: list[tuple[int, int]], start: int, size: int, granule: int) -> set[int]:
    touched = {byte // granule for offset, length in pairs for byte in range(offset, offset + length)}
    return {byte for block in touched for byte in range(block * granule, (block + 1) * granule) if start <= byte < size}


@given(PAIRS, st.integers(0, 60), st.integers(0, 150), GRANULES)
@example([(10, 5), (0, 12), (15, 5), (15, 5), (40, 0)], 3, 18, 1)
@example([(0, 10), (20, 10), (5, 2), (29, 40)], 0, 100, 8)
def test_normalised_areas_are_the_bytes_that_were_named(
    pairs: list[tuple[int, int]], start: int, size: int, granule: int
) -> None:
    areas = normalise(iter(pairs), start, size, granule)
    assert covered(areas) == expected(pairs, start, size, granule)
    assert areas.total() == len(covered(areas))
    assert len(areas) == len(list(areas))


@given(PAIRS, st.integers(0, 60), st.integers(0, 150), GRANULES)
def test_normalised_areas_ascend_and_never_touch(
    pairs: list[tuple[int, int]], start: int, size: int, granule: int
) -> None:
    edges = [edge for area in normalise(pairs, start, size, granule) for edge in area]
    assert edges == sorted(set(edges))


@given(PAIRS, st.randoms())
def test_the_order_of_the_pairs_does_not_matter(pairs: list[tuple[int, int]], random: object) -> None:
    shuffled = list(pairs)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert list(normalise(shuffled, 0, 1000)) == list(normalise(pairs, 0, 1000))


@given(PAIRS, st.integers(0, 60), st.integers(0, 150), GRANULES, st.integers(0, 40))
def test_areas_and_gaps_cover_every_byte_once(
    pairs: list[tuple[int, int]], start: int, size: int, granule: int, beyond: int
) -> None:
    size = max(size, start)
    areas = normalise(pairs, start, size, granule)
    stretches = list(with_gaps(areas, start, size + beyond))
    position = start
    for begin, end, _ in stretches:
        assert begin == position
        assert end > begin
        position = end
    assert position == size + beyond
    assert {byte for begin, end, inside in stretches if inside for byte in range(begin, end)} == covered(areas)
    assert all(one[2] != two[2] for one, two in pairwise(stretches))


def test_offsets_of_the_largest_disks_are_kept() -> None:
    size = 62 * 2**40
    assert list(normalise([(size - 4096, 8192), (0, 512)], 0, size, 512)) == [(0, 512), (size - 4096, size)]


@pytest.mark.parametrize("pair", [(-1, 5), (5, -1)])
def test_a_negative_number_is_refused(pair: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="negative"):
        normalise([(0, 1), pair], 0, 100)


@given(st.lists(st.tuples(st.integers(1, 20), st.booleans()), max_size=12), st.integers(0, 6), GRANULES)
@example([(3, True), (10, False), (4, True), (1, False), (30, True)], 1, 8)
def test_a_granule_with_any_data_is_data(runs: list[tuple[int, bool]], first: int, granule: int) -> None:
    start = first * granule
    extents, position = [], start
    for length, zero in runs:
        extents.append((position, position + length, zero))
        position += length
    # A server may know less than the whole, and what it does not say is data.
    end = -(-position // granule) * granule + granule
    data = {byte // granule for low, high, zero in extents if not zero for byte in range(low, high)}
    data |= {byte // granule for byte in range(position, end)}

    found = list(aligned(iter(extents), start, end, granule))

    assert [low for low, _, _ in found] == [start, *(high for _, high, _ in found)][: len(found)]
    assert found[-1][1] == end
    for low, high, zero in found:
        assert low < high and low % granule == high % granule == 0
        # Zeros that are told in pieces smaller than a granule count as data.
        assert not zero or all(block not in data for block in range(low // granule, high // granule))
    if all(one != other for (_, one), (_, other) in pairwise(runs)):
        assert {
            block for low, high, zero in found if not zero for block in range(low // granule, high // granule)
        } == data


def test_data_is_told_before_more_is_asked_for() -> None:
    def asked() -> Iterator[tuple[int, int, bool]]:
        yield 0, 20, False
        raise AssertionError("nobody wanted more yet")

    assert next(aligned(asked(), 0, 64, 8)) == (0, 16, False)
