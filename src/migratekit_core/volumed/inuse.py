"""Whether somebody on this machine uses a disk: it is mounted or swapped to, part of LVM or an array, or open.

Looked up where Linux tells it (`Places`): /proc/self/mountinfo (proc(5)), /proc/swaps, /sys/block/*/holders, and the
descriptors of processes. A process of another user may be hidden from this one (hidepid, ProtectProc); what claims a
disk for itself alone is found all the same, by claiming it (open(2): O_EXCL on a block device).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from migratekit_core.volumed.devices import LONGEST, Places

ESCAPED = re.compile(r"\\([0-7]{3})")
"""How mountinfo and swaps write spaces, tabs, line breaks and backslashes of a path."""


class Kind(Enum):
    """How a disk is used."""

    MOUNTED = "mounted, or swap space"
    CLAIMED = "part of a volume group, an array or a mapping"
    OPEN = "open"


@dataclass(frozen=True)
class Use:
    """What a disk is used for."""

    kind: Kind
    why: str
    """For people: who uses it, and how."""


def use_of(places: Places, disk: Path, own: Collection[int] = ()) -> Use | None:
    """Return what a whole disk, or a partition of it, is used for; None where nothing is known. `own` are the processes
    that may have it open."""
    names, numbers = _names(places, disk), _numbers(places, disk)
    return (
        _mounted(places, names, numbers)
        or _swapped_to(places, names)
        or _held(places, disk)
        or _claimed(disk)
        or _open(places, names, own)
    )


def _names(places: Places, disk: Path) -> frozenset[str]:
    return frozenset([str(disk), *(str(disk.with_name(one.name)) for one in _partitions(places, disk))])


def _numbers(places: Places, disk: Path) -> frozenset[str]:
    """Return the major:minor of a disk and of its partitions."""
    entries = [places.sys_block / disk.name, *_partitions(places, disk)]
    return frozenset(filter(None, (_text(entry / "dev").strip() for entry in entries)))


def _partitions(places: Places, disk: Path) -> list[Path]:
    return [entry for entry in _entries(places.sys_block / disk.name) if (entry / "partition").exists()]


def _mounted(places: Places, names: frozenset[str], numbers: frozenset[str]) -> Use | None:
    for line in _text(places.proc / "self" / "mountinfo", whole=True).splitlines():
        before, _, after = line.partition(" - ")
        fields, of = before.split(" "), after.split(" ")
        if len(fields) > 4 and (fields[2] in numbers or (len(of) > 1 and _plain(of[1]) in names)):
            return Use(Kind.MOUNTED, f"it is mounted at {_plain(fields[4])}")
    return None


def _swapped_to(places: Places, names: frozenset[str]) -> Use | None:
    if names.intersection(swap_devices(_text(places.proc / "swaps", whole=True))):
        return Use(Kind.MOUNTED, "it is swap space")
    return None


def swap_devices(swaps: str) -> list[str]:
    """Return what is swapped to, devices and files, by what /proc/swaps says (proc(5))."""
    return [_plain(line.split(" ")[0].split("\t")[0]) for line in swaps.splitlines()[1:]]


def _held(places: Places, disk: Path) -> Use | None:
    for entry in (places.sys_block / disk.name, *_partitions(places, disk)):
        if holders := _entries(entry / "holders"):
            return Use(Kind.CLAIMED, f"{', '.join(one.name for one in holders)} is made of {entry.name}")
    return None


def _claimed(disk: Path) -> Use | None:
    try:
        if not stat.S_ISBLK(disk.stat().st_mode):
            return None
        os.close(os.open(disk, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return Use(Kind.CLAIMED, "the kernel has it claimed: mounted, or part of LVM or an array")
    return None


def _open(places: Places, names: frozenset[str], own: Collection[int]) -> Use | None:
    for process in _processes(places):
        if int(process.name) in own:
            continue
        try:
            descriptors = list((process / "fd").iterdir())
        except OSError:  # ended since, or another user's
            continue
        for descriptor in descriptors:
            try:
                found = str(descriptor.readlink())
            except OSError:  # closed since
                continue
            if found in names:
                program = _text(process / "comm").strip() or "a process"
                return Use(Kind.OPEN, f"{program} (pid {process.name}) has {found} open")
    return None


def _processes(places: Places) -> Iterator[Path]:
    return (entry for entry in _entries(places.proc) if entry.name.isdecimal())


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _text(file: Path, *, whole: bool = False) -> str:
    try:
        with file.open("rb", buffering=0) as opened:
            data = opened.readall() if whole else opened.read(LONGEST)
    except OSError:
        return ""
    return (data or b"").decode("utf-8", "surrogateescape")


def _plain(path: str) -> str:
    return ESCAPED.sub(lambda found: chr(int(found[1], 8)), path)
