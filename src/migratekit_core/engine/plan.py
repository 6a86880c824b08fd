"""The work of a copy as a stream of pieces in ascending order: what to read and write, and what to zero."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import NamedTuple

from migratekit_core.common.units import MIB
from migratekit_core.engine.areas import Areas, with_gaps

BLOCK = 4096
"""Bytes: the largest logical block that disks have (4Kn)."""
ZERO_PIECE = 256 * MIB
"""Largest zero request: one that a slow device still answers before anybody loses patience."""

Ask = Callable[[int, int], Iterator[tuple[int, int, bool]]]
"""(start, end) → (start, end, reads as zeros) over the whole stretch."""


class Action(Enum):
    """What a piece needs."""

    COPY = "copy"
    ZERO = "zero"
    NOTHING = "nothing"
    """The target reads as zeros there already, as it should."""


class Piece(NamedTuple):
    """Work on [offset, offset + length) of the disk."""

    offset: int
    length: int
    action: Action
    gap: bool
    """Whether it lies between the areas: needed for a full copy, but no part of what was asked to be copied."""


class Shape(NamedTuple):
    """What is the same for all requests of a copy; sizes in bytes."""

    size: int
    request: int
    can_zero: bool

    def cuts(self, offset: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """Yield (offset, length, whether by a zero request) of what makes a stretch read as zeros.

        A zero request is whole BLOCKs; what is left before and behind is sent: an exporter does not tell the blocks of
        a 4Kn device, and cannot zero a part of one, while it takes data of any length.
        """
        begin, end = offset, offset + length
        low, high = -(-begin // BLOCK) * BLOCK, end // BLOCK * BLOCK
        if not self.can_zero or low >= high:
            yield from ((at, size, False) for at, size in self.parts(begin, length))
            return
        if begin < low:
            yield begin, low - begin, False
        yield low, high - low, True
        if high < end:
            yield high, end - high, False

    def parts(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) of the requests that a stretch takes where its bytes have to be sent."""
        for begin in range(offset, offset + length, self.request):
            yield begin, min(self.request, offset + length - begin)

    def present(self, piece: Piece) -> int:
        """Return how many bytes of a piece the disk has: its last block may be less than the target's blocks are."""
        return min(piece.length, self.size - piece.offset)


def pieces(
    areas: Areas,
    start: int,
    end: int,
    full: bool,
    request_size: int,
    source: Ask,
    target: Ask | None,
    zero_piece: int | None = None,
) -> Iterator[Piece]:
    """Yield the pieces of a copy.

    Within an area the source's extents tell data from zeros. A full copy also zeroes what lies between the areas, up to
    `end`; where the target says that it reads as zeros already (`target`), nothing is sent. `zero_piece` is the largest
    piece of zeros in bytes.
    """
    largest = zero_piece or ZERO_PIECE
    for begin, stop, inside in with_gaps(areas, start, end) if full else ((a, b, True) for a, b in areas):
        if not inside:
            yield from _zeros(begin, stop, target, largest, gap=True)
            continue
        for low, high, zero in source(begin, stop):
            if zero:
                yield from _zeros(low, high, target, largest, gap=False)
            else:
                yield from _data(low, high, request_size)


def _data(begin: int, end: int, request_size: int) -> Iterator[Piece]:
    while begin < end:
        # Cut at multiples of the request size: what one request covers lies in one block of whatever is below.
        stop = min(end, (begin // request_size + 1) * request_size)
        yield Piece(begin, stop - begin, Action.COPY, gap=False)
        begin = stop


def _zeros(begin: int, end: int, target: Ask | None, largest: int, gap: bool) -> Iterator[Piece]:
    for low, high, zero in target(begin, end) if target else ((begin, end, False),):
        action = Action.NOTHING if zero else Action.ZERO
        while low < high:
            stop = high if zero else min(high, low + largest)
            yield Piece(low, stop - low, action, gap)
            low = stop
