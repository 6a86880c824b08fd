"""The pieces of a copy against a model of two disks: after them, the target holds what the source holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.engine import plan
from migratekit_core.engine.areas import normalise
from migratekit_core.engine.plan import Action, Piece, pieces

SIZE = 96


def extents_of(zero: list[bool], cuts: set[int]) -> plan.Extents:
    """Return block status as a server would give it: runs, cut also where the server pleases."""

    def extents(begin: int, end: int) -> Iterator[tuple[int, int, bool]]:
        low = begin
        for byte in range(begin + 1, end + 1):
            if byte == end or zero[byte] != zero[low] or byte in cuts:
                yield low, byte, zero[low]
                low = byte

    return extents


PAIRS = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, 30)), max_size=6)
CONTENT = st.lists(st.integers(0, 3), min_size=SIZE, max_size=SIZE)
CUTS = st.sets(st.integers(0, SIZE), max_size=6)


@pytest.fixture(autouse=True)
def small_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut zero requests on the model's scale."""
    monkeypatch.setattr(plan, "ZERO_PIECE", 8)


def model(
    pairs: list[tuple[int, int]],
    source: list[int],
    target: list[int],
    cuts: set[int],
    *,
    start: int,
    size: int,
    full: bool,
    request: int,
    knows_target: bool,
) -> tuple[list[Piece], list[int], list[int]]:
    """Return the pieces, the disk as it should be afterwards, and as it is."""
    areas = normalise(pairs, start, size)
    asked = {byte for begin, end in areas for byte in range(begin, end)}
    wanted = list(target)
    for byte in range(start, SIZE):
        if byte in asked:
            wanted[byte] = source[byte]
        elif full:
            wanted[byte] = 0
    made = list(
        pieces(
            areas,
            start,
            SIZE,
            full,
            request,
            extents_of([value == 0 for value in source], cuts),
            extents_of([value == 0 for value in target], cuts) if knows_target else None,
        )
    )
    is_now = list(target)
    for piece in made:
        reach = slice(piece.offset, piece.offset + piece.length)
        if piece.action is Action.COPY:
            is_now[reach] = source[reach]
        elif piece.action is Action.ZERO:
            is_now[reach] = [0] * piece.length
    return made, wanted, is_now


@given(PAIRS, CONTENT, CONTENT, CUTS, st.integers(0, 40), st.integers(40, SIZE), st.booleans(),
       st.integers(1, 20), st.booleans())  # fmt: skip
def test_the_target_becomes_what_it_should(
    pairs: list[tuple[int, int]], source: list[int], target: list[int], cuts: set[int], start: int, size: int,
    full: bool, request: int, knows_target: bool,
) -> None:  # fmt: skip
    made, wanted, is_now = model(
        pairs, source, target, cuts, start=start, size=size, full=full, request=request, knows_target=knows_target
    )
    assert is_now == wanted

    areas = normalise(pairs, start, size)
    inside = [byte for begin, end in areas for byte in range(begin, end)]
    due = list(range(start, SIZE)) if full else inside
    # Each byte in exactly one piece, in ascending order.
    assert [byte for piece in made for byte in range(piece.offset, piece.offset + piece.length)] == due
    for piece in made:
        bytes_of = range(piece.offset, piece.offset + piece.length)
        assert piece.length > 0
        assert piece.gap == (piece.offset not in inside)
        if piece.action is Action.COPY:
            # Never a read of what is known to be zero, never one across a boundary of the request size.
            assert all(source[byte] for byte in bytes_of)
            assert bytes_of[0] // request == bytes_of[-1] // request
        elif piece.action is Action.ZERO:
            assert piece.length <= plan.ZERO_PIECE
            # Not sent where the target is known to read as zeros.
            assert not knows_target or all(target[byte] for byte in bytes_of)
        else:
            assert knows_target
            assert not any(target[byte] for byte in bytes_of)


def test_without_block_status_everything_asked_for_is_copied() -> None:
    areas = normalise([(10, 20)], 0, SIZE)
    made = list(pieces(areas, 0, SIZE, False, 8, lambda begin, end: iter([(begin, end, False)]), None))
    assert made == [
        Piece(10, 6, Action.COPY, False),
        Piece(16, 8, Action.COPY, False),
        Piece(24, 6, Action.COPY, False),
    ]


def test_pieces_come_one_by_one() -> None:
    def endless() -> Iterator[tuple[int, int, bool]]:
        yield 0, 8, False
        raise AssertionError("asked for more than was needed")

    areas = normalise([(0, SIZE)], 0, SIZE)
    made = pieces(areas, 0, SIZE, True, 8, lambda begin, end: endless(), None)
    assert next(made) == Piece(0, 8, Action.COPY, False)
