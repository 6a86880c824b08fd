"""The records of the NFC protocol, and what is wrong with those that a host sends. Nothing here can write."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import NamedTuple

MAGIC = 0xA100DA7A
ERROR, HELLO, END, OPEN, CLOSE, READ, SOCKET_OPTIONS, RESOURCE_POOL = 1, 2, 3, 4, 5, 7, 9, 22
HEADER = struct.Struct("<IIII")
REQUEST = struct.Struct("<QIIQQIII")
CHUNK = struct.Struct("<QIIQIIIII")
MESSAGE_BYTES = 264
"""Of a handshake's message."""
LARGEST_CONTROL = 4096
"""Bytes of the payload of any record but a chunk of data."""
LONGEST_TEXT = 4096
LARGEST_READ = 1 << 20
LARGEST_CHUNK = 64 << 10
MOST_CHUNKS = 4096
"""Of one request: with chunks of 256 bytes a host would be at its limit."""
SPARE = 1024
"""Bytes that an encoded chunk may be longer than the chunk."""
NONE, ZLIB, SKIPZ = 0, 1, 3
ENCODINGS = {"none": NONE, "zlib": ZLIB, "skipz": SKIPZ}
READ_ONLY = 0x1E
LOCKED, REFUSED = 16392, 11
ZEROS = bytes(LARGEST_CHUNK)


class ProtocolError(Exception):
    """A host sends what it must not. The text is ours."""


def message(kind: int, a: int = 0, b: int = 0) -> bytes:
    """Return a message of the handshake."""
    return struct.pack("<III", kind, a, b).ljust(MESSAGE_BYTES, b"\0")


def tagged(kind: int, tag: bytes) -> bytes:
    """Return the message that has a tag behind its type."""
    return (kind.to_bytes(4, "little") + tag[:16].ljust(16, b"\0")).ljust(MESSAGE_BYTES, b"\0")


def record(opcode: int, payload: bytes, sequence: int, trailer: bytes = b"") -> bytes:
    """Return a record; the trailer is not in its length."""
    return HEADER.pack(MAGIC, opcode, len(payload), sequence) + payload + trailer


def open_payload(path: bytes) -> bytes:
    """Return what opens a disk for reading; its path follows as the trailer."""
    return struct.pack("<I12xII", len(path), 2, READ_ONLY).ljust(60, b"\0")


def read_payload(handle: int, encoding: int, offset: int, length: int) -> bytes:
    """Return a request of at most LARGEST_READ bytes."""
    return REQUEST.pack(handle, 1, encoding, offset, length, length, length, 0)


class Opened(NamedTuple):
    """The answer to an open."""

    status: int
    handle: int
    capacity: int
    sector: int


def opened(payload: bytes) -> Opened:
    """Parse the answer to an open. Raises ProtocolError."""
    if len(payload) < 40:
        raise ProtocolError("the answer to open is too short")
    status, handle = struct.unpack_from("<QQ", payload)
    capacity, sector = struct.unpack_from("<QI", payload, 28)
    return Opened(status, handle, capacity, sector)


class Header(NamedTuple):
    """The head of a record."""

    opcode: int
    length: int
    sequence: int


def header(data: bytes | bytearray | memoryview) -> Header:
    """Parse the head of a record. Raises ProtocolError."""
    magic, opcode, length, sequence = HEADER.unpack(data)
    if magic != MAGIC:
        raise ProtocolError("a record does not begin as one")
    if length > LARGEST_CONTROL:
        raise ProtocolError("a record is too long")
    return Header(opcode, length, sequence)


def error(payload: bytes) -> tuple[int, int]:
    """Return an error's code, and how long its text is. Raises ProtocolError."""
    if len(payload) != 16:
        raise ProtocolError("an error has the wrong length")
    code, length = struct.unpack("<Q4xI", payload)
    if length > LONGEST_TEXT:
        raise ProtocolError("an error's text is too long")
    return code, length


class Chunk(NamedTuple):
    """A part of what was asked for; offsets and lengths in bytes."""

    status: int
    encoding: int
    offset: int
    total: int
    at: int
    length: int
    wire: int


def chunk(data: bytes | bytearray | memoryview) -> Chunk:
    """Parse what stands before a chunk, whatever it says. Raises ProtocolError for more than is ever accepted."""
    status, _, encoding, offset, total, at, length, wire, _ = CHUNK.unpack(data)
    if wire > LARGEST_CHUNK + SPARE:
        raise ProtocolError("a chunk is too long")
    return Chunk(status, encoding, offset, total, at, length, wire)


def check(found: Chunk, offset: int, length: int, encoding: int) -> None:
    """Raise ProtocolError unless a chunk answers a request of `length` bytes at `offset` in an encoding asked for."""
    if found.offset != offset or found.total != length:
        raise ProtocolError("a chunk answers another request")
    if not 0 < found.length <= LARGEST_CHUNK:
        raise ProtocolError("a chunk has no length that is allowed")
    if found.at + found.length > length:
        raise ProtocolError("a chunk ends beyond its request")
    if found.encoding not in (NONE, encoding):
        raise ProtocolError("a chunk has an encoding that was not asked for")
    if found.encoding == NONE and found.wire != found.length:
        raise ProtocolError("a plain chunk has not the length that it says")


class Cover:
    """Which parts of a request have come."""

    def __init__(self, length: int) -> None:
        self.left = length
        self._ends: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._parts = 0

    def add(self, at: int, length: int) -> None:
        """Take a part. Raises ProtocolError where it overlaps another, or there are too many."""
        self._parts += 1
        if self._parts > MOST_CHUNKS:
            raise ProtocolError("a request is answered in too many chunks")
        end = at + length
        for start, stop in self._ends.items():
            if at < stop and start < end:
                raise ProtocolError("a chunk overlaps another")
        # Neighbours become one part: what comes in order, or nearly so, is a part or two.
        if at in self._starts:
            at = self._starts.pop(at)
            del self._ends[at]
        if end in self._ends:
            stop = self._ends.pop(end)
            del self._starts[stop]
            end = stop
        self._ends[at], self._starts[end] = end, at
        self.left -= length


def decode(encoding: int, data: memoryview, into: memoryview) -> None:
    """Decode a chunk into exactly the buffer. Raises ProtocolError."""
    if encoding == ZLIB:
        _inflate(data, into)
    else:
        _unskip(data, into)


def _inflate(data: memoryview, into: memoryview) -> None:
    stream = zlib.decompressobj()
    try:
        # One byte more than is right would show that there is more.
        plain = stream.decompress(data, len(into) + 1)
    except zlib.error:
        raise ProtocolError("a chunk is no zlib stream") from None
    if len(plain) != len(into) or not stream.eof or stream.unused_data:
        raise ProtocolError("a chunk does not decode to its length")
    into[:] = plain


def _unskip(data: memoryview, into: memoryview) -> None:
    size, end = len(into), len(data)
    if end < 4 or int.from_bytes(data[:4], "little") != size:
        if end != size:
            raise ProtocolError("a chunk does not decode to its length")
        into[:] = data
        return
    if end < 8:
        raise ProtocolError("a chunk is cut")
    into[:] = ZEROS[:size]
    at, parts = 8, list[tuple[int, int]]()
    while at < end:
        if end - at < 8:
            raise ProtocolError("a chunk is cut")
        offset, length = struct.unpack_from("<II", data, at)
        at += 8
        if length > end - at or offset + length > size:
            raise ProtocolError("a segment ends beyond its chunk")
        into[offset : offset + length] = data[at : at + length]
        parts.append((offset, offset + length))
        at += length
    parts.sort()
    if any(after[0] < before[1] for before, after in itertools.pairwise(parts)):
        raise ProtocolError("a segment overlaps another")
