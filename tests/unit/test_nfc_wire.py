"""The records of NFC: what a host may send, what it may not, and that nothing else is ever taken."""

from __future__ import annotations

import contextlib
import itertools
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migratekit_core.adapters.readers.remote import nfcwire as wire
from migratekit_core.adapters.readers.remote.nfcwire import Chunk, Cover, ProtocolError

GOOD = Chunk(0, wire.SKIPZ, 1 << 20, 1 << 20, 65536, 65536, 100)


def decoded(encoding: int, data: bytes, size: int) -> bytes:
    into = bytearray(b"\xee" * size)
    wire.decode(encoding, memoryview(data), memoryview(into))
    return bytes(into)


def skipz(size: int, *segments: tuple[int, bytes]) -> bytes:
    parts = [struct.pack("<II", at, len(data)) + data for at, data in segments]
    return struct.pack("<II", size, 0) + b"".join(parts)


def test_a_chunk_that_answers_its_request_is_taken() -> None:
    wire.check(GOOD, 1 << 20, 1 << 20, wire.SKIPZ)
    wire.check(GOOD._replace(encoding=wire.NONE, wire=65536), 1 << 20, 1 << 20, wire.SKIPZ)


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 0},
        {"total": 65536},
        {"at": (1 << 20) - 512},
        {"length": 0},
        {"length": 65537},
        {"encoding": 2},
        {"encoding": wire.ZLIB},
        {"encoding": wire.NONE},
    ],
)
def test_a_chunk_that_does_not_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ProtocolError):
        wire.check(GOOD._replace(**wrong), 1 << 20, 1 << 20, wire.SKIPZ)


def test_lengths_are_bounded() -> None:
    with pytest.raises(ProtocolError):
        wire.header(wire.HEADER.pack(wire.MAGIC, 7, wire.LARGEST_CONTROL + 1, 0))
    with pytest.raises(ProtocolError):
        wire.header(wire.HEADER.pack(wire.MAGIC + 1, 7, 44, 0))
    with pytest.raises(ProtocolError):
        wire.chunk(wire.CHUNK.pack(0, 0, 0, 0, 0, 0, 0, wire.LARGEST_CHUNK + wire.SPARE + 1, 0))
    with pytest.raises(ProtocolError):
        wire.error(struct.pack("<Q4xI", 11, wire.LONGEST_TEXT + 1))
    with pytest.raises(ProtocolError):
        wire.opened(bytes(39))


def test_parts_may_come_in_any_order_and_never_twice() -> None:
    for order in itertools.permutations([(0, 10), (10, 5), (15, 20), (35, 1)]):
        cover = Cover(36)
        for part in order:
            cover.add(*part)
            with pytest.raises(ProtocolError):
                cover.add(part[0], 1)
        assert cover.left == 0
    cover = Cover(1 << 20)
    for at in range(0, 2 * wire.MOST_CHUNKS, 2):
        cover.add(at, 1)
    with pytest.raises(ProtocolError):
        cover.add(1 << 19, 1)


def test_skipz_has_zeros_where_no_segment_is() -> None:
    assert decoded(wire.SKIPZ, skipz(16), 16) == bytes(16)
    assert decoded(wire.SKIPZ, skipz(16, (4, b"ab"), (0, b"c")), 16) == b"c\0\0\0ab" + bytes(10)
    assert decoded(wire.SKIPZ, b"stored as it is!", 16) == b"stored as it is!"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"short",
        skipz(16)[:6],
        skipz(16) + b"cut",
        skipz(16, (15, b"ab")),
        skipz(16, (0, b"ab"), (1, b"c")),
        skipz(16, (0xFFFFFFFF, b"a")),
        skipz(16, (0, b"abcdefgh"))[:-1],
    ],
)
def test_skipz_that_is_not_right_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        decoded(wire.SKIPZ, data, 16)


@pytest.mark.parametrize(
    "data",
    [
        zlib.compress(bytes(65535)),
        zlib.compress(bytes(65537)),
        zlib.compress(bytes(50 << 20)),
        zlib.compress(bytes(65536))[:-1],
        zlib.compress(bytes(65536)) + b"x",
        b"nothing of that kind",
        b"",
    ],
)
def test_zlib_that_is_not_right_is_refused(data: bytes) -> None:
    assert decoded(wire.ZLIB, zlib.compress(b"x" * 65536), 65536) == b"x" * 65536
    with pytest.raises(ProtocolError):
        decoded(wire.ZLIB, data, 65536)


@given(st.sampled_from([wire.ZLIB, wire.SKIPZ]), st.binary(max_size=600), st.integers(1, 512))
def test_whatever_comes_is_decoded_to_its_length_or_refused(encoding: int, data: bytes, size: int) -> None:
    try:
        assert len(decoded(encoding, data, size)) == size
    except ProtocolError:
        return


@given(st.binary(min_size=512, max_size=512), st.data())
def test_what_is_left_out_of_skipz_comes_back(content: bytes, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, 512), max_size=12)))
    plain, segments = bytearray(512), []
    for low, high in zip(cuts[::2], cuts[1::2], strict=False):
        segments.append((low, content[low:high]))
        plain[low:high] = content[low:high]
    assert decoded(wire.SKIPZ, skipz(512, *data.draw(st.permutations(segments))), 512) == plain


@given(st.lists(st.tuples(st.integers(0, 63), st.integers(1, 16)), max_size=40))
def test_a_cover_counts_each_byte_once(parts: list[tuple[int, int]]) -> None:
    cover, taken = Cover(80), set[int]()
    for at, length in parts:
        new = set(range(at, at + length))
        if new & taken:
            with pytest.raises(ProtocolError):
                cover.add(at, length)
        else:
            cover.add(at, length)
            taken |= new
    assert cover.left == 80 - len(taken)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=44, max_size=44))
def test_no_record_is_longer_than_is_allowed(head: bytes, rest: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert wire.header(head).length <= wire.LARGEST_CONTROL
    try:
        found = wire.chunk(rest)
        wire.check(found, 0, 1 << 20, wire.ZLIB)
    except ProtocolError:
        return
    assert found.at + found.length <= 1 << 20
    assert found.wire <= wire.LARGEST_CHUNK + wire.SPARE
