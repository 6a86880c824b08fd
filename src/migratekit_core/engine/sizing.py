"""How many connections and how many bytes in flight a copy needs, from how long the target takes for a write.

A link is full when its bandwidth times its round trip is in flight. NBD servers work on a limited number of requests
per connection at a time (nbdkit: 16 threads each), so latency asks for more connections, too.
"""

from __future__ import annotations

from typing import NamedTuple

from migratekit_core.common.units import GIB, KIB, MIB, round_up

CONNECTIONS = 2
"""For a target that is near: more only compete for the same cores."""
FAR_CONNECTIONS = 4
"""For a target that is not; for each PER_CONNECTIONS of latency."""
WINDOW = 8 * MIB
"""For a target that is near: small enough to stay in the processor's caches."""
MOST_CONNECTIONS = 8
"""With all of LARGEST_WINDOW on their way, 16 took a fifth longer: every connection's turn costs something."""
LARGEST_WINDOW = 64 * MIB
"""As much as a crash may make the next run copy again (ledger.UNSAFE_BYTES); the engine's memory is hardly more."""
FULL = 2.4 * GIB
"""Bytes per second that a window is for: more than a host copies. A larger one only leaves the processor's caches."""
NEAR = 0.005
"""Seconds up to which a write's fastest answer counts as that of a near target: WINDOW is enough for 1.6 GiB/s then,
and a processor that is busy with TLS takes as long as that, too."""
NEAR_AGAIN = NEAR / 4
"""From which one that seemed to be far is near after all: the first answers are slow ones."""
BESIDE = 0.005
"""Seconds within which the fastest read has to be answered for carriers to be tried at all: they read one by one."""
LARGE = 256 * KIB
"""Mean size of pieces from which carriers are tried: for smaller ones, it is their number that counts."""
QUICK = 0.5 * GIB
"""Bytes per second of the fastest read from which a carrier loses nothing by reading one piece after the other ..."""
AT_ONCE = 0.001
"""... nor by writing them so, where the fastest write takes no longer than this."""
CARRIED = 1024
"""Pieces that one may have on their way to a far target: as many as the window allows."""
CARRIERS = 2
"""Three and four are no faster, on two cores."""
ENOUGH_ANSWERS = 16
"""Writes that have to be answered before the fastest of them says anything: the first ones find everything cold."""
SURE_ANSWERS = 64
"""The same before the fastest read says that a source is not beside."""
PER_CONNECTIONS = 0.025
"""Seconds of latency that FAR_CONNECTIONS more connections make up for: in that time, Linux sends 4 MiB on each at most
(net.ipv4.tcp_wmem), which makes 0.6 GiB/s. More than are needed cost a tenth."""


class Size(NamedTuple):
    """Connections to the target, and bytes in flight."""

    connections: int
    window: int
    carried: int
    """Pieces that a carrier may have on their way to it."""


def size_for(latency: float) -> Size:
    """Return the size for a target whose fastest answer to a write took `latency` seconds."""
    if latency <= NEAR:
        return Size(CONNECTIONS, WINDOW, 1)
    # More changes nothing, and nothing may have been answered yet.
    latency = min(latency, 1.0)
    connections = int(min(MOST_CONNECTIONS, FAR_CONNECTIONS * (1 + latency // PER_CONNECTIONS)))
    window = min(LARGEST_WINDOW, max(WINDOW, round_up(int(latency * FULL), MIB)))
    return Size(connections, window, CARRIED)
