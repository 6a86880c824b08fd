"""Compares a disk with its volume by digests: each side is hashed where it is, only digests cross the tunnel.

First in large blocks; those that differ are looked at again in blocks as small as change tracking counts in, unless
they are so many that the answer would be long and no better.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from migratekit_core.common.units import GIB
from migratekit_core.engine.areas import normalise
from migratekit_core.engine.digests.blocks import SMALLEST_BLOCK, Range, cut, merged, stretches, within
from migratekit_core.engine.digests.process import Hasher
from migratekit_core.engine.digests.summary import Summary
from migratekit_core.engine.job import Progress
from migratekit_core.volumed.client import VolumeClient

LOOK_AGAIN = GIB
"""Most bytes in differing blocks that are hashed again to find out what in them differs."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Comparison:
    """What came of it; sizes in bytes."""

    compared: int
    read: int
    """What was read of the source: the rest is known to be zeros."""
    different: list[Range]
    source_digest: str
    """Of all that was compared, on each side: equal where nothing differs."""
    volume_digest: str

    @property
    def differing(self) -> int:
        """Return how many bytes are in ranges that differ."""
        return sum(length for _, length in self.different)


def compare(
    hashing: Hasher,
    volumes: VolumeClient,
    volume_id: str,
    ranges: Sequence[Range],
    allocated: Sequence[Range],
    block_size: int,
    observe: Callable[[int], None],
) -> Comparison:
    """Compare `ranges` of the source disk behind `hashing` with a volume that is attached to the OMA.

    `allocated` is where the source may hold anything but zeros. `observe` is told how many bytes are done. Raises
    whatever either side reports.
    """
    areas = [(start, end - start) for start, end in normalise(allocated, 0, max(map(sum, ranges), default=0))]
    sides = _Sides(hashing, volumes, volume_id, areas)
    ours, theirs = Summary(), Summary()
    different, read = sides.different(ranges, block_size, observe, ours, theirs)
    if different and sum(length for _, length in different) <= LOOK_AGAIN and block_size > SMALLEST_BLOCK:
        different, again = sides.different(different, SMALLEST_BLOCK, lambda done: None, Summary(), Summary())
        read += again
    return Comparison(sum(length for _, length in ranges), read, different, ours.text(), theirs.text())


class Meter:
    """Turns bytes done into what observers are told."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._then = time.monotonic()

    def progress(self, done: int) -> Progress:
        """Return the progress at `done` bytes."""
        now = time.monotonic()
        rate = (done - self._done) / max(now - self._then, 1e-3)
        self._done, self._then = done, now
        return Progress(done, self._total, done, 0, 0, rate, 0, 1, 0)


class _Sides:
    def __init__(self, hashing: Hasher, volumes: VolumeClient, volume_id: str, areas: list[Range]) -> None:
        self._hashing = hashing
        self._volumes = volumes
        self._volume_id = volume_id
        self._areas = areas

    def different(
        self,
        ranges: Sequence[Range],
        block_size: int,
        observe: Callable[[int], None],
        our_sum: Summary,
        their_sum: Summary,
    ) -> tuple[list[Range], int]:
        """Return the blocks that differ, those that touch as one, and how many bytes were read of the source."""
        found: list[Range] = []
        done = read = 0
        for lot in stretches(ranges, block_size):
            theirs = _Asked(lambda lot=lot: self._volumes.block_digests(self._volume_id, block_size, lot))  # type: ignore[misc]
            begin = max(0, bisect_right(self._areas, (lot[0][0],)) - 1)
            data = list(within(islice(self._areas, begin, None), lot))
            ours, size = self._hashing.digests(lot, block_size, data, lambda more, done=done: observe(done + more))  # type: ignore[misc]
            for piece, one, other in zip(cut(lot, block_size), ours, theirs.answer(self._hashing), strict=True):
                our_sum.add(piece, one)
                their_sum.add(piece, other)
                if one != other:
                    found.append(piece)
            done += sum(length for _, length in lot)
            read += size
            observe(done)
        return merged(found), read


class _Asked:
    """A question to the daemon, under way while the source is hashed; a thread that nobody has to wait for."""

    def __init__(self, ask: Callable[[], list[bytes]]) -> None:
        self._ask = ask
        self._found: list[bytes] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="daemon-digests", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = self._ask()
        except BaseException as error:
            self._error = error

    def answer(self, hashing: Hasher) -> list[bytes]:
        """Return the answer. Raises its error, or KeyboardInterrupt where the run is being stopped."""
        while self._thread.is_alive():
            self._thread.join(POLL_SECONDS)
            if hashing.ended():
                raise KeyboardInterrupt
        if self._error is not None:
            raise self._error
        return self._found
