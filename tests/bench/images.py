"""Source disks of the benchmark, always the same: from fixed seeds."""

from __future__ import annotations

import random
from pathlib import Path

KIB, MIB = 1024, 1024 * 1024


def random_image(folder: Path, size: int) -> Path:
    """Write `size` bytes of random data, a multiple of 64 MiB."""
    rng, path = random.Random(1), folder / "random.img"
    with path.open("wb") as file:
        for _ in range(size // (64 * MIB)):
            file.write(rng.randbytes(64 * MIB))
    return path


def scattered_image(folder: Path, size: int, data: int, run: int) -> tuple[Path, list[tuple[int, int]]]:
    """Write a sparse image with `data` bytes in runs of `run` at random places; return it and where they are."""
    rng, path = random.Random(2), folder / "scattered.img"
    places = sorted(rng.sample(range(size // run), data // run))
    block = rng.randbytes(run)
    with path.open("wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place * run)
            file.write(block)
    return path, [(place * run, run) for place in places]
