"""An engine's memory does not grow with what there is to copy; `make bench` has the row with a million areas."""

from __future__ import annotations

from pathlib import Path

from tests.bench.memory import LIMIT, TIB, measure

WINDOW = 128 * 1024**2
"""The largest there is, as for a far target."""
FEW, MANY = 10_000, 40_000
MOST_PER_AREA = 128
"""Bytes. Two machine words are kept of an area, and more than these only if something else is kept, too."""


def test_memory_does_not_grow_with_the_areas(tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    # One alone may never have had all of its window on its way: a busy machine's servers may answer before it asks.
    few = max(measure(folder, 4 * TIB, FEW, WINDOW)[0] for folder in folders)
    many, done = measure(tmp_path, 4 * TIB, MANY, WINDOW)
    assert done.read > MANY * 4096, "all of them were copied"
    assert (many - few) / (MANY - FEW) < MOST_PER_AREA
    assert many < LIMIT
