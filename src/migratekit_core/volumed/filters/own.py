"""Which disks are the OMA's own: those below what is mounted and swapped to, with all of their volume groups.

A disk is told by its serial, which CloudStack gives it and nothing on it can change; one without a serial by its place
on the bus. Never by what is on it: a replica may be a copy of the very template that the OMA was made of.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.volumed.devices import DISK, serial_of
from migratekit_core.volumed.filters.places import Linux, entries, text
from migratekit_core.volumed.inuse import swap_devices

PLAIN = re.compile(r"[A-Za-z0-9_.:+-]{1,128}")
"""What a serial or a link may be made of, to stand in the rules of udev and LVM."""
BY_CONTENT = re.compile(r"(?:lvm-pv-uuid|dm-name|dm-uuid|md-name|md-uuid)-.*")
"""Links by what is on a disk, or is made of it."""
STACKED = re.compile(r"(?:dm-uuid|md-uuid)-[A-Za-z0-9_.:+-]+")
"""Links of a device that is made of others, such as an encrypted one, and may be part of a volume group."""
LVM_UUID = re.compile(r"LVM-([A-Za-z0-9]{32})[A-Za-z0-9]{32}")
"""What device-mapper calls a logical volume: its group's id, and its own."""
ARRAY = re.compile(r"[0-9a-f]{8}(?::[0-9a-f]{8}){3}")
"""The id of an array, as mdadm writes it."""


@dataclass(frozen=True)
class Disk:
    """A disk of the OMA's own."""

    name: str
    """The kernel's, when it was looked for: for people."""
    serial: str
    """"" where it has none that can be used."""
    path: str
    """Its place on the bus (udev's ID_PATH), where it has no serial."""
    links: tuple[str, ...]
    """udev's names of the whole disk below /dev/disk that do not go by its content."""


@dataclass(frozen=True)
class Own:
    """All that is the OMA's own."""

    disks: tuple[Disk, ...]
    stacked: tuple[str, ...] = ()
    """Names below /dev/disk/by-id of devices that are made of these disks and belong to a volume group."""
    arrays: tuple[str, ...] = ()
    """The ids of arrays that are made of these disks."""

    def text(self) -> str:
        """Return it as one line, which `own_of` reads."""
        disks = [[one.name, one.serial, one.path, list(one.links)] for one in self.disks]
        return json.dumps({"disks": disks, "stacked": self.stacked, "arrays": self.arrays}, separators=(",", ":"))


def own_of(line: str) -> Own | None:
    """Return what `Own.text` wrote; None where it is something else, or holds what must stand in no rule."""
    try:
        data = json.loads(line)
        rows = [(str(name), str(serial), str(path), links) for name, serial, path, links in data["disks"]]
        disks = tuple(Disk(name, serial, path, tuple(map(str, links))) for name, serial, path, links in rows)
        own = Own(disks, tuple(map(str, data["stacked"])), tuple(map(str, data["arrays"])))
    except (ValueError, TypeError, KeyError):
        return None
    fit = all(PLAIN.fullmatch(one.serial or one.path) and all(map(_link, one.links)) for one in disks)
    return own if fit and all(map(STACKED.fullmatch, own.stacked)) and all(map(ARRAY.fullmatch, own.arrays)) else None


def find_own(linux: Linux, also: Iterable[Path] = ()) -> Own:
    """Return the OMA's own disks as they are in use now; `also` are further ones, by any name of theirs.

    Raises PreconditionError: FILTER_UNFIT where a disk can be told by nothing, where it is reached by several paths,
    and where none is found; FILE_UNREADABLE where one of `also` is no disk.
    """
    numbers = {number for number in [*_in_use(linux), *(_given(linux, path) for path in also)] if number}
    names = {name for number in numbers for name in _leaves(linux, number)}
    stacked: set[str] = set()
    for number in members(linux, volume_groups(linux)):
        names.update(_leaves(linux, number))
        stacked.update(link for link in _links(linux, number, "by-id") if STACKED.fullmatch(link))
    if not names:
        raise unfit("no disk of the OMA's own is found", "nothing that is mounted lies on one")
    arrays = {array for number in numbers for array in _arrays(linux, number)}
    return Own(tuple(_disk(linux, name) for name in sorted(names)), tuple(sorted(stacked)), tuple(sorted(arrays)))


def disks_in_use(linux: Linux) -> set[str]:
    """Return the kernel's names of the disks below what is mounted and swapped to; LVM is not asked."""
    return {name for number in _in_use(linux) if number for name in _leaves(linux, number)}


def volume_groups(linux: Linux) -> set[str]:
    """Return the ids, without dashes, of the volume groups of which something is mounted or swapped to."""
    return {group for number in _in_use(linux) if number for group in _groups(linux, number)}


def members(linux: Linux, groups: set[str], settings: str = "") -> list[str]:
    """Return the numbers of all physical volumes of some groups: a group has more than what is in use.

    `settings` are LVM's, in place of those of its files. Raises PreconditionError (FILTER_UNFIT) where LVM fails.
    """
    if not groups:
        return []
    more = ["--config", settings] if settings else []
    said = linux.printed("pvs", "--noheadings", "--separator", "|", "-o", "pv_name,vg_uuid", *more)
    if said is None:
        raise unfit("LVM does not tell what its volume groups are made of", "pvs fails")
    pairs = [line.strip().partition("|")[::2] for line in said.splitlines()]
    return [_number(linux, Path(name)) for name, group in pairs if group.replace("-", "") in groups]


def present(linux: Linux, own: Own) -> list[Path]:
    """Return the devices, by their present names, of those of some disks that are there."""
    names = [entry.name for entry in entries(linux.sys / "block")]
    return [Path("/dev") / name for name in names if any(_same(linux, name, one) for one in own.disks)]


def others(linux: Linux, own: Own) -> list[str]:
    """Return the kernel's names of the disks that may be replicas: of a kind that CloudStack attaches, and not own."""
    names = [entry.name for entry in entries(linux.sys / "block") if DISK.fullmatch(entry.name)]
    return [name for name in names if not any(_same(linux, name, one) for one in own.disks)]


def with_partitions(linux: Linux, disk: str) -> list[str]:
    """Return the kernel's names of a disk and of its partitions."""
    return [disk, *(one.name for one in entries(linux.sys / "block" / disk) if (one / "partition").exists())]


def properties(linux: Linux, name: str) -> dict[str, str]:
    """Return what udev knows of a device, by its kernel's name."""
    lines = _udev(linux, text(linux.sys / "class/block" / name / "dev").strip())
    return dict(line[2:].partition("=")[::2] for line in lines if line.startswith("E:"))


def _same(linux: Linux, name: str, disk: Disk) -> bool:
    if disk.serial:
        return serial_of(linux.sys / "block" / name) == disk.serial
    return properties(linux, name).get("ID_PATH", "") == disk.path


def _in_use(linux: Linux) -> Iterator[str]:
    """Return the numbers (major:minor) of all devices that are mounted or swapped to."""
    for line in text(linux.proc / "self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, of = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(of) < 2:
            continue
        if (linux.sys / "dev/block" / fields[2]).exists():
            yield fields[2]
        elif of[0] == "btrfs":  # has a number of its own; the mount names one of its devices
            yield from _btrfs(linux, _number(linux, Path(of[1])))
    for device in swap_devices(text(linux.proc / "swaps")):
        yield _number(linux, Path(device))


def _btrfs(linux: Linux, number: str) -> list[str]:
    """Return the numbers of all devices of the btrfs that one of them belongs to."""
    for system in entries(linux.sys / "fs/btrfs"):
        found = [text(device / "dev").strip() for device in entries(system / "devices")]
        if number in found:
            return found
    return [number]


def _given(linux: Linux, path: Path) -> str:
    number = _number(linux, path)
    if not number:
        raise PreconditionError(
            f"{path} is no disk",
            "it is no block device of this machine",
            "look with lsblk",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(path)},
        )
    return number


def _number(linux: Linux, path: Path) -> str:
    """Return the major:minor of a block device, by any name of it; "" where there is none."""
    name = linux.at(path).resolve().name if path.is_absolute() else ""
    number = text(linux.sys / "class/block" / name / "dev").strip() if name else ""
    try:
        told = path.stat() if linux.here else None
    except OSError:
        return ""
    if told is None:
        return number
    return f"{os.major(told.st_rdev)}:{os.minor(told.st_rdev)}" if stat.S_ISBLK(told.st_mode) else ""


def _device(linux: Linux, number: str) -> Path:
    return (linux.sys / "dev/block" / number).resolve()


def _below(linux: Linux, entry: Path) -> list[str]:
    """Return the numbers of the devices that a device, or a partition's disk, is made of."""
    whole = entry.parent if (entry / "partition").exists() else entry
    return [text(one / "dev").strip() for one in entries(whole / "slaves")]


def _leaves(linux: Linux, number: str) -> Iterator[str]:
    """Return the names of the disks that a device lies on: itself, where it is one."""
    entry = _device(linux, number)
    below = _below(linux, entry)
    if below and text(entry / "dm/uuid").startswith("mpath-"):
        raise unfit(f"multipath holds {entry.name}, which is the OMA's own", "a machine of CloudStack has one path")
    for one in below:
        yield from _leaves(linux, one)
    whole = entry.parent if (entry / "partition").exists() else entry
    if not below and (whole / "device").exists():
        yield whole.name


def _groups(linux: Linux, number: str) -> Iterator[str]:
    """Return the ids of the volume groups that a device, or what it is made of, belongs to, without dashes."""
    entry = _device(linux, number)
    found = LVM_UUID.match(text(entry / "dm/uuid"))
    if found is not None:
        yield found[1]
    for one in _below(linux, entry):
        yield from _groups(linux, one)


def _arrays(linux: Linux, number: str) -> Iterator[str]:
    """Return the ids of the arrays that a device is, or is made of."""
    entry = _device(linux, number)
    whole = entry.parent if (entry / "partition").exists() else entry
    if (whole / "md").is_dir():
        said = linux.printed("mdadm", "--detail", "--export", f"/dev/{whole.name}") or ""
        found = re.search(rf"^MD_UUID=({ARRAY.pattern})$", said, re.MULTILINE)
        if found is None:
            raise unfit(f"mdadm does not tell the id of {whole.name}", "mdadm --detail fails")
        yield found[1]
    for one in _below(linux, entry):
        yield from _arrays(linux, one)


def _disk(linux: Linux, name: str) -> Disk:
    entry = linux.sys / "block" / name
    number = text(entry / "dev").strip()
    by_id = [
        link for link in _links(linux, number, "by-id") if PLAIN.fullmatch(link) and not BY_CONTENT.fullmatch(link)
    ]
    by_path = [link for link in _links(linux, number, "by-path") if PLAIN.fullmatch(link)]
    serial, path = serial_of(entry), properties(linux, name).get("ID_PATH", "")
    if by_id and PLAIN.fullmatch(serial):
        return Disk(name, serial, "", tuple(f"by-id/{link}" for link in sorted(by_id)))
    if by_path and PLAIN.fullmatch(path):
        return Disk(name, "", path, tuple(f"by-path/{link}" for link in sorted(by_path)))
    raise unfit(
        f"the OMA's own disk {name} can be told by nothing",
        "it has neither a serial nor a place on the bus that udev has a link for",
    )


def _links(linux: Linux, number: str, folder: str) -> list[str]:
    """Return udev's names of a device in a folder below /dev/disk."""
    start = f"S:disk/{folder}/"
    return [line.removeprefix(start) for line in _udev(linux, number) if line.startswith(start)]


def _udev(linux: Linux, number: str) -> list[str]:
    return text(linux.udev / f"b{number}").splitlines() if number else []


def _link(link: str) -> bool:
    folder, _, name = link.partition("/")
    return folder in ("by-id", "by-path") and PLAIN.fullmatch(name) is not None


def unfit(what: str, why: str) -> PreconditionError:
    """Return the error for disks that no filter can be made for."""
    todo = "nothing was changed; docs/setup-oma.md says what the disks of an OMA are like"
    return PreconditionError(what, why, todo, code=ErrorCode.FILTER_UNFIT)
