"""Which way of moving bytes is faster here: the loop (engine.worker) or carriers (engine.carrier).

Where all that a request costs is memory being copied, carriers are a third faster, also to a far target, on whose link
they have as much as the loop has. Where a source takes a millisecond, or a target a few, or pieces are small, the loop
is twice as fast, for it has more on its way. Neither latency nor processor time tells the one case from the other on a
machine that is busy anyway. So both are tried, and measured by what they move.
"""

from __future__ import annotations

from migratekit_core.common.units import MIB

SPAN_BYTES = 32 * MIB
SPAN_SECONDS = 0.1
"""What is measured at a time, whichever is first: some twenty milliseconds of a fast copy."""
WARM_BYTES = 8 * MIB
"""What is not, after a change: the first requests find everything cold."""
WARM_CARRIERS = 48 * MIB
"""What is not of carriers: of nbdkit's 16 threads for each of their new connections, all find their buffers cold."""
COMPARE_SECONDS = 4.0
"""After which carriers that went first are compared with the loop: a copy that is done by then is spared the trial."""
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds until carriers that were slower are tried again; each time doubles them."""
TOLERANCE = 0.9
"""How much of what the loop does is enough for carriers: spans are short, and nearly as fast is no reason to change."""
PATIENCE = 2
"""Spans in a row in which they may be slower: a single one may be a matter of the machine ..."""
HOPELESS = 0.6
"""... unless they do less than this much of what the loop does."""


class Pace:
    """Measures, and says what to do. Times are seconds of a monotonic clock."""

    def __init__(self, now: float) -> None:
        self._carrying = False
        self._cold = True
        self._since, self._from = now, 0
        """Where the span began."""
        self._loop: float | None = None
        """Bytes per second of the loop, once it was measured."""
        self._below = 0
        self._pause = FIRST_PAUSE
        self._not_before = now
        self.settled = False
        """Whether carriers have been measured, and nothing was chosen since."""
        self._compare_at = float("inf")

    def carry(self, now: float, moved: int, carrying: bool, likely: bool = False) -> bool:
        """Return whether carriers are to do the work; `moved`: bytes of data that are on the target, `carrying`: who
        moves them now, `likely`: whether carriers are most likely the faster ones: the loop is tried later then."""
        if carrying != self._carrying:
            self._carrying, self._cold, self._below = carrying, True, 0
            self._since, self._from = now, moved
        if likely and not carrying and self._loop is None and now < self._compare_at:
            self._compare_at = min(self._compare_at, now + COMPARE_SECONDS)
            return True
        size, seconds = moved - self._from, now - self._since
        warm = WARM_CARRIERS if carrying else WARM_BYTES
        if size < (warm if self._cold else SPAN_BYTES) and seconds < SPAN_SECONDS:
            return carrying
        cold, self._cold = self._cold, False
        self._since, self._from = now, moved
        return carrying if cold else self._judge(now, size / max(seconds, 1e-6))

    def _judge(self, now: float, rate: float) -> bool:
        self.settled = self._carrying
        if not self._carrying:
            self._loop = rate
            # Where nothing moves, there is nothing to be compared with.
            return rate > 0 and now >= self._not_before
        if self._loop is None:
            return now < self._compare_at
        if rate > TOLERANCE * self._loop:
            self._below, self._pause = 0, FIRST_PAUSE
            return True
        self._below += 1
        if self._below < PATIENCE and rate > HOPELESS * self._loop:
            return True
        self._not_before = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        return False
