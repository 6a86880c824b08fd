"""How many connections and how many bytes in flight a copy needs, from how long the target takes for a write.

A link is full when its bandwidth times its round trip is in flight. NBD servers work on a limited number of requests
per connection at a time (nbdkit: 16 threads each), so latency asks for more connections, too.
"""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.units import MIB

CONNECTIONS = 2
"""For a target that is near: more only compete for the same cores."""
FAR_CONNECTIONS = 4
"""For each PER_CONNECTION of latency."""
WINDOW = 16 * MIB
"""For a target that is near: small enough to stay in the processor's caches."""
MOST_CONNECTIONS = 16
LARGEST_WINDOW = 128 * MIB
"""1 GiB/s over 125 ms; the engine's memory is hardly more than this."""
NEAR = 0.002
"""Seconds up to which a write's fastest answer counts as that of a near target."""
PER_CONNECTION = 0.005
"""Seconds of latency that four more connections make up for."""


@dataclass(frozen=True)
class Size:
    """Connections to each side, and bytes in flight."""

    connections: int
    window: int


def size_for(latency: float) -> Size:
    """Return the size for a target whose fastest answer to a write took `latency` seconds."""
    if latency <= NEAR:
        return Size(CONNECTIONS, WINDOW)
    connections = min(MOST_CONNECTIONS, FAR_CONNECTIONS * (1 + int(latency / PER_CONNECTION)))
    return Size(connections, LARGEST_WINDOW)
