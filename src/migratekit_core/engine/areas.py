"""Areas of a disk, in bytes: put in order, cut, and turned inside out. Pure functions over compact arrays."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator


class Areas:
    """Ascending, disjoint, non-empty stretches of a disk. Two machine words each: a million take 16 MiB."""

    def __init__(self) -> None:
        self._starts = array("Q")
        self._ends = array("Q")

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of each."""
        return zip(self._starts, self._ends, strict=True)

    def total(self) -> int:
        """Return the sum of the lengths."""
        return sum(self._ends) - sum(self._starts)

    def _append(self, start: int, end: int) -> None:
        if self._ends and start <= self._ends[-1]:
            self._ends[-1] = max(self._ends[-1], end)
        else:
            self._starts.append(start)
            self._ends.append(end)


def normalise(pairs: Iterable[tuple[int, int]], start: int, size: int, granule: int = 1) -> Areas:
    """Return `(offset, length)` pairs as Areas within [start, size), each rounded outwards to `granule`.

    Pairs may overlap, touch, or come in any order; only a list that is out of order is sorted.
    Raises ValueError for a pair with a negative number.
    """
    areas = Areas()
    waiting: list[tuple[int, int]] = []
    last = 0
    for offset, length in pairs:
        if offset < 0 or length < 0:
            raise ValueError(f"area with a negative number: offset {offset}, length {length}")
        if waiting or offset < last:
            waiting.append((offset, length))
            continue
        last = offset
        _add(areas, offset, length, start, size, granule)
    if not waiting:
        return areas
    waiting.extend((begin, end - begin) for begin, end in areas)
    waiting.sort()
    ordered = Areas()
    for offset, length in waiting:
        _add(ordered, offset, length, start, size, granule)
    return ordered


def _add(areas: Areas, offset: int, length: int, start: int, size: int, granule: int) -> None:
    begin = max(offset // granule * granule, start)
    end = min(-(-(offset + length) // granule) * granule, size)
    if length and begin < end:
        areas._append(begin, end)


def with_gaps(areas: Areas, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """Yield (begin, end, inside) over the whole of [start, end), alternating between areas and what lies between."""
    position = start
    for begin, stop in areas:
        if position < begin:
            yield position, begin, False
        yield begin, stop, True
        position = stop
    if position < end:
        yield position, end, False


def aligned(
    extents: Iterable[tuple[int, int, bool]], start: int, end: int, granule: int
) -> Iterator[tuple[int, int, bool]]:
    """Yield extents (start, end, reads as zeros) of [start, end) in whole granules: a granule with any data is data."""
    position = start
    for low, high, zero in extents:
        first, last = -(-low // granule) * granule, high // granule * granule
        if zero and first < last:
            if position < first:
                yield position, first, False
            yield first, last, True
            position = last
        elif not zero and position < last:
            # At once: what follows may not be known yet.
            yield position, last, False
            position = last
    if position < end:
        yield position, end, False
