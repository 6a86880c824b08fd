"""Limits bytes per second with a bucket that holds a quarter of a second's worth, or one piece.

A piece is paid for before it is sent: since its start, a copy has never sent more than its limits allowed until now.
"""

from __future__ import annotations

from migratekit_core.common.units import KIB

BURST_SECONDS = 0.25
"""Long enough for requests of 1 MiB at a few MiB/s, short enough that the limit holds over any second."""
BINDING_SECONDS = 1.0
"""For how long a limit counts as what decides how fast it goes, after somebody had to wait for it."""
SMALLEST_PIECE = 64 * KIB


def piece_size(bytes_per_second: int | None, most: int) -> int:
    """Return how large pieces may be, at most `most`, so that under a limit they go out several times a second."""
    if bytes_per_second is None:
        return most
    worth = int(bytes_per_second * BURST_SECONDS) // SMALLEST_PIECE * SMALLEST_PIECE
    return min(most, max(worth, SMALLEST_PIECE))


class RateLimit:
    """A bucket of bytes. `now` is in seconds of a monotonic clock."""

    def __init__(self, bytes_per_second: int | None, now: float) -> None:
        self.bytes_per_second = bytes_per_second
        self._credit = 0.0
        self._then = now
        self._waited = -BINDING_SECONDS

    def binds(self, now: float) -> bool:
        """Return whether it has made anybody wait lately: without it, it would go faster."""
        return self.bytes_per_second is not None and now - self._waited < BINDING_SECONDS

    def delay(self, now: float, size: int) -> float:
        """Return for how many seconds `size` bytes may not be sent yet; 0 if they may."""
        rate = self.bytes_per_second
        if rate is None:
            return 0.0
        self._earn(now, rate, size)
        if self._credit >= size:
            return 0.0
        self._waited = now
        return (size - self._credit) / rate

    def change(self, bytes_per_second: int | None, now: float) -> None:
        """Set another limit. What was earned under the old one is kept, or a piece could be waited for forever."""
        if self.bytes_per_second is not None:
            self._earn(now, self.bytes_per_second, int(self._credit))
        if bytes_per_second is None:
            self._credit = 0.0
        self.bytes_per_second, self._then = bytes_per_second, now

    def spend(self, size: int) -> None:
        """Count `size` bytes as sent."""
        if self.bytes_per_second is not None:
            self._credit -= size

    def _earn(self, now: float, rate: int, size: int) -> None:
        self._credit = min(self._credit + (now - self._then) * rate, max(rate * BURST_SECONDS, size))
        self._then = now
