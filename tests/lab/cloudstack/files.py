"""Volumes and snapshots as sparse files, and the /dev/disk/by-id of each virtual machine."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

_STEP = 64 << 20


def volume_path(state: Path, volume_id: str) -> Path:
    return state / "volumes" / f"{volume_id}.raw"


def snapshot_path(state: Path, snapshot_id: str) -> Path:
    return state / "snapshots" / f"{snapshot_id}.raw"


def template_path(state: Path, template_id: str) -> Path:
    return state / "templates" / f"{template_id}.raw"


def by_id(state: Path, vm_id: str) -> Path:
    return state / "vms" / vm_id / "by-id"


def create(path: Path, size: int, source: Path | None = None) -> None:
    """A volume's file, whole or not at all: it gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("wb") as target:
        if source is not None:
            with source.open("rb") as origin:
                _copy_data(origin.fileno(), target.fileno())
        target.truncate(size)
    partial.rename(path)


def _copy_data(origin: int, target: int) -> None:
    """Copies only what is allocated, so holes stay holes; where the file system can share blocks, it does."""
    end, position = os.fstat(origin).st_size, 0
    while position < end:
        try:
            start = os.lseek(origin, position, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole is left
            return
        position = os.lseek(origin, start, os.SEEK_HOLE)
        while start < position:
            copied = os.copy_file_range(origin, target, min(_STEP, position - start), start, start)
            if copied == 0:  # the source shrank under us
                return
            start += copied


def resize(path: Path, size: int) -> None:
    os.truncate(path, size)


def delete(path: Path) -> None:
    path.unlink(missing_ok=True)


def allocated(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_blocks * 512
    return 0


def serial(volume_id: str, dashes: bool = False, length: int = 20) -> str:
    """The serial KVM gives a disk. Storage plugins of some vendors keep the dashes before the cut."""
    return (volume_id if dashes else volume_id.replace("-", ""))[:length]


def remove_vm(state: Path, vm_id: str) -> None:
    directory = by_id(state, vm_id).parent
    for part in ("by-id", "sys", "dev"):
        shutil.rmtree(directory / part, ignore_errors=True)
    with contextlib.suppress(OSError):  # someone else keeps something there: theirs to remove
        directory.rmdir()
