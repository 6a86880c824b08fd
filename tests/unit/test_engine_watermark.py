"""The watermark never passes a piece that has not ended, and reaches the end when all have."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.engine.watermark import Watermark

PIECES = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=20)
"""Gap before each piece, and its length."""


@given(st.integers(0, 100), PIECES, st.data())
def test_everything_below_the_watermark_is_done(start: int, shape: list[tuple[int, int]], data: st.DataObject) -> None:
    pieces: list[tuple[int, int]] = []
    position = start
    for gap, length in shape:
        pieces.append((position + gap, position + gap + length))
        position += gap + length
    watermark = Watermark(start)
    waiting, unfinished = list(pieces), []
    before = watermark.position
    while waiting or unfinished:
        if waiting and (not unfinished or data.draw(st.booleans())):
            piece = waiting.pop(0)
            watermark.begin(*piece)
            unfinished.append(piece)
        else:
            watermark.end(unfinished.pop(data.draw(st.integers(0, len(unfinished) - 1)))[0])
        assert before <= watermark.position
        assert all(watermark.position <= begin for begin, _ in unfinished + waiting)
        before = watermark.position
    assert watermark.position == pieces[-1][1]


def test_it_stands_at_the_checkpoint_until_something_is_done() -> None:
    watermark = Watermark(4096)
    assert watermark.position == 4096
    watermark.begin(8192, 12288)
    assert watermark.position <= 8192


def test_it_advances_as_far_as_the_first_open_piece() -> None:
    watermark = Watermark(0)
    for begin in (0, 10, 20):
        watermark.begin(begin, begin + 10)
    watermark.end(10)
    assert watermark.position == 0
    watermark.end(0)
    assert watermark.position == 20
    watermark.end(20)
    assert watermark.position == 30
