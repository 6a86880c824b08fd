"""Finds runs of zeros in what was read."""

from __future__ import annotations

from collections.abc import Iterator

import nbd

from migratekit_core.common.units import KIB

GRANULE = 64 * KIB
"""Runs of zeros at least this long, on this boundary, are sent as zero requests: changed blocks have this size, too."""


def runs(buffer: memoryview) -> Iterator[tuple[int, int, bool]]:
    """Yield (start, end, is zero) over the whole buffer, in steps of GRANULE."""
    length = len(buffer)
    # Most blocks hold data, and most of those show it at once: their first byte is looked at before all are.
    if 0 not in bytes(buffer[::GRANULE]):
        yield 0, length, False
        return
    whole = nbd.Buffer.from_buffer(buffer)
    start = 0
    state = whole.is_zero(0, min(GRANULE, length))
    for low in range(GRANULE, length, GRANULE):
        zero = whole.is_zero(low, min(GRANULE, length - low))
        if zero != state:
            yield start, low, state
            start, state = low, zero
    yield start, length, state
