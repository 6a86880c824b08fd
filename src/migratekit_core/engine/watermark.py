"""How far a copy got whose pieces end out of order: everything below the watermark is done."""

from __future__ import annotations


class Watermark:
    """Pieces begin in ascending order and end in any."""

    def __init__(self, position: int) -> None:
        self.position = position
        self._begun = position
        self._open: set[int] = set()

    def begin(self, start: int, end: int) -> None:
        """A piece [start, end) is on its way; whatever lies between the last piece and this one needs no work."""
        self._open.add(start)
        self._begun = end

    def end(self, start: int) -> None:
        """The piece that began at `start` is done."""
        self._open.discard(start)
        self.position = min(self._open) if self._open else self._begun
