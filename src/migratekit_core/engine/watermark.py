"""How far a copy got whose pieces end out of order: everything below the watermark is done."""

from __future__ import annotations

from collections import deque


class Watermark:
    """Pieces begin in ascending order and end in any. Both calls take constant time."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._begun = position
        self._open: deque[int] = deque()
        self._ended: set[int] = set()
        """Pieces that ended before one that began earlier."""

    def begin(self, start: int, end: int) -> None:
        """A piece [start, end) is on its way; whatever lies between the last piece and this one needs no work."""
        self._open.append(start)
        self._begun = end

    def end(self, start: int) -> None:
        """The piece that began at `start` is done."""
        self._ended.add(start)
        while self._open and self._open[0] in self._ended:
            self._ended.discard(self._open.popleft())
        self.position = self._open[0] if self._open else self._begun
