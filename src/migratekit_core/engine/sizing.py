"""How many connections and how many bytes in flight a copy needs, from how long the target takes for a write.

A link is full when its bandwidth times its round trip is in flight. NBD servers work on a limited number of requests
per connection at a time (nbdkit: 16 threads each), so latency asks for more connections, too.
"""

from __future__ import annotations

from typing import NamedTuple

from migratekit_core.units import KIB, MIB

CONNECTIONS = 2
"""For a target that is near: more only compete for the same cores."""
FAR_CONNECTIONS = 4
"""For each PER_CONNECTION of latency."""
WINDOW = 8 * MIB
"""For a target that is near: small enough to stay in the processor's caches."""
MOST_CONNECTIONS = 16
LARGEST_WINDOW = 64 * MIB
"""As much as a crash may make the next run copy again (ledger.UNSAFE_BYTES); the engine's memory is hardly more."""
NEAR = 0.005
"""Seconds up to which a write's fastest answer counts as that of a near target: WINDOW is enough for 1.6 GiB/s then,
and a processor that is busy with TLS takes as long as that, too."""
BESIDE = 0.005
"""Seconds within which the fastest read and the fastest write have to be answered for carriers to be tried at all."""
LARGE = 256 * KIB
"""Mean size of pieces from which carriers are tried: for smaller ones, it is their number that counts."""
CARRIERS = 2
"""Three and four are no faster, on two cores."""
ENOUGH_ANSWERS = 32
"""Writes that have to be answered before the fastest of them says anything: the first ones find everything cold."""
PER_CONNECTION = 0.005
"""Seconds of latency that four more connections make up for."""


class Size(NamedTuple):
    """Connections to each side, and bytes in flight."""

    connections: int
    window: int


def size_for(latency: float) -> Size:
    """Return the size for a target whose fastest answer to a write took `latency` seconds."""
    if latency <= NEAR:
        return Size(CONNECTIONS, WINDOW)
    connections = min(MOST_CONNECTIONS, FAR_CONNECTIONS * (1 + int(latency / PER_CONNECTION)))
    return Size(connections, LARGEST_WINDOW)
