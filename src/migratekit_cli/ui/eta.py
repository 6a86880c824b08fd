"""How long something will still take, by what was done lately; nothing is said where that would be a guess."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 30.0
"""What counts as lately: long enough that a pause of a second does not show, short enough to follow another limit."""
LEAST_SECONDS = 3.0
"""Before so much time has passed nothing is said."""


class Eta:
    """The pace of one piece of work, in bytes. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()
        self.done = self.total = 0

    def update(self, done: int, total: int) -> None:
        """Take how far it is."""
        if done < self.done or total != self.total:
            # Another piece of work under the same name: what was seen says nothing about it.
            self._seen.clear()
        self.done, self.total = done, total
        now = self._clock()
        self._seen.append((now, done))
        # The first one stands for the window's begin, so it may be a little older.
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW_SECONDS:
            self._seen.popleft()

    def rate(self) -> float | None:
        """Return bytes per second lately, up to this moment: work that stands still becomes slower; None if unknown."""
        if not self._seen:
            return None
        begin, first = self._seen[0]
        seconds = self._clock() - begin
        return (self.done - first) / seconds if seconds >= LEAST_SECONDS else None

    def seconds(self) -> float | None:
        """Return for how long it will go on at this pace; None where nobody knows."""
        if self.total and self.done >= self.total:
            return 0.0
        rate = self.rate()
        return (self.total - self.done) / rate if rate else None
