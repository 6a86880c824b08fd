"""Looks into an initramfs for virtio drivers: whether a Linux guest finds its root disk on KVM."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
import zlib
from collections.abc import Callable, Iterator

from migratekit_core.common import programs

HEADER = 110
"""Bytes of a cpio header (newc): a magic number of 6 characters and 13 fields of 8."""
MAGICS = (b"070701", b"070702")
END = "TRAILER!!!"
DRIVERS = ("virtio_blk.ko", "virtio_scsi.ko")
SECONDS = 60


class UnreadableError(Exception):
    """It is compressed in a way that is not known here."""


def has_virtio(data: bytes) -> bool:
    """Return whether an initramfs brings a driver for virtio disks. Raises UnreadableError."""
    return any(driver in name for name in names(data) for driver in DRIVERS)


def names(data: bytes) -> Iterator[str]:
    """Yield the names of the files in an initramfs: archives one after the other, the last one compressed."""
    position = 0
    while position < len(data):
        if data[position] == 0:  # between two archives
            position += 1
            continue
        if data[position : position + 6] in MAGICS:
            found, position = _archive(data, position)
            yield from found
            continue
        yield from names(_decompressed(data[position:]))
        return


def _archive(data: bytes, position: int) -> tuple[list[str], int]:
    """Return the names in one archive, and where it ends."""
    found: list[str] = []
    while data[position : position + 6] in MAGICS:
        if len(data) < position + HEADER:
            break
        fields = [int(data[at : at + 8], 16) for at in range(position + 6, position + HEADER, 8)]
        size, name_size = fields[6], fields[11]
        name = data[position + HEADER : position + HEADER + name_size - 1].decode(errors="replace")
        position = _aligned(position + HEADER + name_size)
        position = _aligned(position + size)
        if name == END:
            return found, position
        found.append(name)
    raise UnreadableError("an archive in it has no end")


def _aligned(position: int) -> int:
    return (position + 3) // 4 * 4


def _decompressed(data: bytes) -> bytes:
    for magic, decompress in _FORMATS.items():
        if data.startswith(magic):
            try:
                return decompress(data)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, subprocess.SubprocessError) as error:
                raise UnreadableError(str(error)) from None
    raise UnreadableError(f"it begins with {data[:4].hex()}")


def _by(program: str, package: str) -> Callable[[bytes], bytes]:
    def run(data: bytes) -> bytes:
        command = [programs.find(program, package), "-dc"]
        return subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=True).stdout

    return run


def _gunzip(data: bytes) -> bytes:
    # Whatever is padded behind it is no second member.
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data) or gzip.decompress(data)


_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": _gunzip,
    b"\xfd7zXZ\x00": lambda data: lzma.LZMADecompressor().decompress(data),
    b"\x5d\x00\x00": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data),
    b"\x28\xb5\x2f\xfd": _by("zstd", "zstd"),
    b"\x02\x21\x4c\x18": _by("lz4", "lz4"),
    b"\x04\x22\x4d\x18": _by("lz4", "lz4"),
}
