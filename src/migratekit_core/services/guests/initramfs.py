"""Looks into an initramfs for virtio drivers: whether a Linux guest finds its root disk on KVM."""

from __future__ import annotations

import bz2
import contextlib
import lzma
import re
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import IO

from migratekit_core.common import programs
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.units import MIB, human_bytes

HEADER = 110
"""Bytes of a cpio header (newc): a magic number of 6 characters and 13 fields of 8."""
MAGICS = (b"070701", b"070702")
END = "TRAILER!!!"
DRIVERS = ("virtio_blk.ko", "virtio_scsi.ko")


class UnreadableError(Exception):
    """It is compressed in a way that is not known here, damaged, or takes more than it may."""


MOST_INFLATED = 1024 * MIB
"""Bytes of all that comes out of an initramfs; those of distributions have up to 500 MiB."""
MOST_DEPTH = 4
"""Archives within compressed archives: real ones have one."""
BUILT_IN = re.compile(rb"^CONFIG_VIRTIO_(BLK|SCSI)=y$|^CONFIG_SCSI_VIRTIO=y$", re.M)


def builds_virtio_in(config: bytes) -> bool:
    """Return whether a kernel's configuration has a driver for virtio disks built in."""
    return BUILT_IN.search(config) is not None


def has_virtio(data: bytes) -> bool:
    """Return whether an initramfs brings a driver for virtio disks. Raises UnreadableError."""
    return any(driver in name for name in names(data) for driver in DRIVERS)


def names(data: bytes, depth: int = 0) -> Iterator[str]:
    """Yield the names of the files in an initramfs: archives one after the other, the last one compressed. Raises
    UnreadableError."""
    if depth > MOST_DEPTH:
        raise UnreadableError("it is nested too deeply")
    position = 0
    while position < len(data):
        if data[position] == 0:  # between two archives
            position += 1
            continue
        if data[position : position + 6] in MAGICS:
            found, position = _archive(data, position)
            yield from found
            continue
        yield from names(_decompressed(data[position:]), depth + 1)
        return


def _archive(data: bytes, position: int) -> tuple[list[str], int]:
    """Return the names in one archive, and where it ends."""
    found: list[str] = []
    while data[position : position + 6] in MAGICS:
        if len(data) < position + HEADER:
            break
        try:
            fields = [int(data[at : at + 8], 16) for at in range(position + 6, position + HEADER, 8)]
        except ValueError:
            raise UnreadableError("a header in it makes no sense") from None
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
                found = decompress(data)
            except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, MigrateKitError) as error:
                raise UnreadableError(str(error)) from None
            if len(found) > MOST_INFLATED:
                raise UnreadableError(f"it inflates to more than {human_bytes(MOST_INFLATED)}")
            return found
    raise UnreadableError(f"it begins with {data[:4].hex()}")


def _by(program: str, package: str) -> Callable[[bytes], bytes]:
    def run(data: bytes) -> bytes:
        command = [programs.find(program, package), "-dc"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdin is not None and process.stdout is not None, "they are pipes"
        feeding = threading.Thread(target=_feed, args=(process.stdin, data), daemon=True)
        feeding.start()
        try:
            # What ends it ends the process: nobody reads the rest.
            return process.stdout.read(MOST_INFLATED + 1)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            feeding.join()

    return run


def _feed(stream: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError), stream:
        stream.write(data)


_FORMATS: dict[bytes, Callable[[bytes], bytes]] = {
    # Whatever is padded behind it is no second member.
    b"\x1f\x8b": lambda data: zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, MOST_INFLATED + 1),
    b"\xfd7zXZ\x00": lambda data: lzma.LZMADecompressor().decompress(data, MOST_INFLATED + 1),
    b"\x5d\x00\x00": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data, MOST_INFLATED + 1),
    b"BZh": lambda data: bz2.BZ2Decompressor().decompress(data, MOST_INFLATED + 1),
    b"\x28\xb5\x2f\xfd": _by("zstd", "zstd"),
    b"\x02\x21\x4c\x18": _by("lz4", "lz4"),
    b"\x04\x22\x4d\x18": _by("lz4", "lz4"),
}
