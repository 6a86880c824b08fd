"""Compares disks byte for byte."""

from __future__ import annotations

import errno
import os
from pathlib import Path

CHUNK = 8 * 1024 * 1024


def differs(source: Path | str, target: Path | str) -> int | None:
    """Return the offset of the first byte of `source` that `target` does not have; None where it has them all."""
    with Path(source).open("rb") as one, Path(target).open("rb") as other:
        offset = 0
        while left := one.read(CHUNK):
            right = other.read(len(left))
            if left != right:
                for index, byte in enumerate(left):
                    if index >= len(right) or right[index] != byte:
                        return offset + index
            offset += len(left)
    return None


def tail_is_zero(target: Path | str, size: int) -> bool:
    """Return whether everything behind the first `size` bytes is zero; holes are, and are not read."""
    with Path(target).open("rb") as file:
        position = size
        while True:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return True  # nothing but a hole until the end
                raise
            file.seek(position)
            chunk = file.read(CHUNK)
            if chunk.count(0) != len(chunk):
                return False
            position += len(chunk)
