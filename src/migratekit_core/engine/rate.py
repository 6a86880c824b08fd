"""Limits bytes per second with a bucket that holds a quarter of a second's worth."""

from __future__ import annotations

BURST_SECONDS = 0.25
"""Long enough for requests of 1 MiB at a few MiB/s, short enough that the limit holds over any second."""
BINDING_SECONDS = 1.0
"""For how long a limit counts as what decides how fast it goes, after somebody had to wait for it."""


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

    def delay(self, now: float) -> float:
        """Return for how many seconds nothing may be sent; 0 if something may be."""
        if self.bytes_per_second is None:
            return 0.0
        self._credit = min(
            self._credit + (now - self._then) * self.bytes_per_second, self.bytes_per_second * BURST_SECONDS
        )
        self._then = now
        if self._credit >= 0:
            return 0.0
        self._waited = now
        return -self._credit / self.bytes_per_second

    def change(self, bytes_per_second: int | None, now: float) -> None:
        """Set another limit. What was sent ahead of the old one still counts: changes must not add up to more."""
        self.delay(now)
        self._credit = min(self._credit, 0.0)
        self.bytes_per_second, self._then = bytes_per_second, now

    def spend(self, size: int) -> None:
        """Count `size` bytes as sent; the bucket may go below zero, and is waited for then."""
        if self.bytes_per_second is not None:
            self._credit -= size
