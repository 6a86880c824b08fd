"""What goes over a device, byte for byte: tcpdump writes it down, and each TCP connection is put together again."""

from __future__ import annotations

import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ETHERNET = 1
IPV4, TCP = 0x0800, 6
SYN = 0x02
TLS_KINDS = {20: "change cipher spec", 21: "alert", 22: "handshake", 23: "application data"}
APPLICATION_DATA = 23
KILOBYTES = 64 * 1024
"""tcpdump's buffer in the kernel."""


@dataclass
class Stream:
    """One direction of one TCP connection."""

    source: tuple[str, int]
    target: tuple[str, int]
    first: int
    """Sequence number of the first byte."""
    whole: bool = True
    """Whether its beginning was seen; the connection is older than the capture where not."""
    data: bytearray = field(default_factory=bytearray)

    def add(self, sequence: int, payload: bytes) -> None:
        """Put a segment in its place; one that was sent again is the same bytes."""
        # Sequence numbers wrap around; a stream here is far shorter than 4 GiB.
        offset = (sequence - self.first) % (1 << 32)
        if offset >= 1 << 31:
            return
        if len(self.data) < offset + len(payload):
            self.data.extend(b"\0" * (offset + len(payload) - len(self.data)))
        self.data[offset : offset + len(payload)] = payload


@dataclass(frozen=True)
class Capture:
    """What was on a device."""

    streams: list[Stream]
    packets: int
    others: dict[str, int]
    """Packets that are no TCP over IPv4, by their kind."""
    raw: bytes
    """The capture file, in which a needle is looked for as well: also in what is no TCP."""

    def found(self, needles: dict[str, bytes]) -> list[str]:
        """Return the names of those needles that are anywhere in it."""
        return [
            name for name, needle in needles.items()
            if needle in self.raw or any(needle in stream.data for stream in self.streams)
        ]  # fmt: skip


@contextmanager
def capturing(where: AbstractContextManager[None], device: str, file: Path) -> Iterator[None]:
    """Capture everything on a device of the namespace `where` during the block. Fails where a packet was missed."""
    command = ["tcpdump", "-i", device, "-n", "-s", "0", "-U", "-B", str(KILOBYTES), "-Z", "root", "-w", str(file)]
    with where:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        first = process.stderr.readline()
        assert "listening on" in first, first
        yield
        # What is in the kernel's buffer is written when it is full, or a second has passed.
        time.sleep(1.5)
    finally:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
    assert "0 packets dropped by kernel" in said, said


def read(file: Path) -> Capture:
    """Return what a capture file holds."""
    raw = file.read_bytes()
    magic, _, _, _, _, _, link = struct.unpack("<IHHiIII", raw[:24])
    assert magic in (0xA1B2C3D4, 0xA1B23C4D), hex(magic)
    assert link == ETHERNET
    streams: dict[tuple[tuple[str, int], tuple[str, int], int], Stream] = {}
    current: dict[tuple[tuple[str, int], tuple[str, int]], Stream] = {}
    others: dict[str, int] = {}
    packets, at = 0, 24
    while at < len(raw):
        length, original = struct.unpack("<II", raw[at + 8 : at + 16])
        assert length == original, "tcpdump cut a packet short"
        frame = raw[at + 16 : at + 16 + length]
        at += 16 + length
        packets += 1
        kind = struct.unpack(">H", frame[12:14])[0]
        if kind != IPV4 or frame[23] != TCP:
            name = f"{kind:#06x}" if kind != IPV4 else f"IPv4 protocol {frame[23]}"
            others[name] = others.get(name, 0) + 1
            continue
        header = 14 + (frame[14] & 15) * 4
        total = struct.unpack(">H", frame[16:18])[0] or length - 14
        source_port, target_port, sequence = struct.unpack(">HHI", frame[header : header + 8])
        source = (".".join(map(str, frame[26:30])), source_port)
        target = (".".join(map(str, frame[30:34])), target_port)
        payload = frame[header + (frame[header + 12] >> 4) * 4 : 14 + total]
        if frame[header + 13] & SYN:
            # A new connection, maybe with an old one's ports; a SYN that is sent again has the same number.
            key = (source, target, sequence)
            streams.setdefault(key, Stream(source, target, (sequence + 1) % (1 << 32)))
            current[source, target] = streams[key]
        elif payload:
            if (source, target) not in current:
                current[source, target] = streams[source, target, sequence] = Stream(source, target, sequence, False)
            current[source, target].add(sequence, payload)
    return Capture(list(streams.values()), packets, others, raw)


def records(stream: Stream) -> dict[str, int]:
    """Return how many bytes a stream has of each kind of TLS record.

    Fails unless it is nothing but TLS records from its first byte to its last.
    """
    found: dict[str, int] = {}
    at, data = 0, bytes(stream.data)
    while at < len(data):
        assert at + 5 <= len(data), (
            f"{stream.source} → {stream.target}: {len(data) - at} bytes at the end are no record"
        )
        kind, major, minor, length = struct.unpack(">BBBH", data[at : at + 5])
        sane = kind in TLS_KINDS and major == 3 and minor in (1, 3) and length <= 16384 + 256
        assert sane, f"{stream.source} → {stream.target}: no TLS record at byte {at}: {data[at : at + 16].hex()}"
        found[TLS_KINDS[kind]] = found.get(TLS_KINDS[kind], 0) + length
        at += 5 + length
    return found
