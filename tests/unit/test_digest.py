"""Digests of blocks: both sides cut alike, holes count as zeros, answers stay small."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.common.units import GIB, KIB, MIB, TIB
from migratekit_core.engine.digests import blocks, hashing

BLOCK = 64 * KIB
Ranges = list[tuple[int, int]]


@st.composite
def ascending(draw: st.DrawFn, most: int = 12, unit: int = 1000) -> Ranges:
    """Disjoint ranges in ascending order, some of them touching."""
    steps = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 300)), max_size=most))
    ends = accumulate((gap + length) * unit for gap, length in steps)
    return [(end - length * unit, length * unit) for end, (_, length) in zip(ends, steps, strict=True)]


def covered(ranges: Ranges | Iterator[tuple[int, int]]) -> set[int]:
    return {at for offset, length in ranges for at in range(offset // 1000, (offset + length) // 1000)}


@given(ascending())
def test_pieces_cover_ranges_and_never_cross_a_block(ranges: Ranges) -> None:
    pieces = list(blocks.cut(ranges, BLOCK))
    assert blocks.merged(pieces) == blocks.merged(ranges)
    assert all(offset // BLOCK == (offset + length - 1) // BLOCK for offset, length in pieces)


@given(ascending(), ascending())
def test_ranges_in_common_and_left_out(one: Ranges, other: Ranges) -> None:
    assert covered(blocks.within(one, other)) == covered(one) & covered(other)
    end = 2_000_000
    assert covered(blocks.complement(one, end)) == set(range(end // 1000)) - covered(one)


def test_a_lot_fits_into_one_answer() -> None:
    ranges = [(at * 3 * BLOCK, BLOCK) for at in range(3000)] + [(GIB, 3 * GIB)]
    lots = list(blocks.stretches(ranges, BLOCK))
    assert blocks.merged(piece for lot in lots for piece in lot) == ranges
    for lot in lots:
        assert len(lot) <= blocks.MOST_RANGES
        assert sum(1 for _ in blocks.cut(lot, BLOCK)) <= blocks.MOST_BLOCKS
        assert sum(length for _, length in lot) <= blocks.MOST_BYTES
    assert all(sum(length for _, length in lot) <= 4 * GIB for lot in blocks.stretches([(0, 40 * GIB)], 16 * MIB))


def test_block_sizes_keep_a_large_disk_answerable() -> None:
    assert [blocks.block_size_for(size) // MIB for size in (512, 256 * GIB, GIB * 257, TIB, 4 * TIB, 62 * TIB)] == [
        1, 1, 2, 4, 16, 16,
    ]  # fmt: skip


@given(st.data())
def test_digests_of_a_sparse_disk_are_those_of_its_bytes(data: st.DataObject) -> None:
    parts, wanted = data.draw(ascending(6, 500)), data.draw(ascending(6, 700))
    disk = bytearray(3_000_000)
    for offset, length in parts:
        disk[offset : offset + length] = bytes([1 + offset % 255]) * length
    asked: Ranges = []

    def read(offset: int, buffer: memoryview) -> None:
        asked.append((offset, len(buffer)))
        buffer[:] = disk[offset : offset + len(buffer)]

    found = list(hashing.digests(blocks.cut(wanted, BLOCK), parts, read, 2))
    assert [piece for piece, _, _ in found] == list(blocks.cut(wanted, BLOCK))
    for (offset, length), digest, _ in found:
        assert digest == blake3(disk[offset : offset + length]).digest()
    # Holes are never read, and nothing is read twice.
    assert blocks.merged(sorted(asked)) == blocks.merged(blocks.within(parts, wanted))
    assert sum(size for _, _, size in found) == sum(length for _, length in asked)


def test_answers_travel_and_bad_ones_are_noticed() -> None:
    digests = [blocks.digest(b"one"), blocks.zero_digest(MIB)]
    assert blocks.unpack(blocks.pack(digests), 2) == digests
    assert len(blocks.pack([blocks.zero_digest(MIB)] * 4096)) < 2000
    for text, count in ((blocks.pack(digests), 3), ("!", 1), ("AAAA", 1)):
        with pytest.raises(ValueError, match="digests"):
            blocks.unpack(text, count)
