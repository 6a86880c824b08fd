"""The disks of a running machine as its Linux shows them: /dev/disk/by-id, and where a test asks for it /sys/block and
/dev. Below the state directory `vms/<id>/by-id`, `vms/<id>/sys/block`, `vms/<id>/dev`.

How the names come about: QEMU's virtio-blk has a serial of at most 20 bytes; its scsi-hd puts the serial on the pages
0x80 (up to 36 bytes) and 0x83 of the vital product data, and udev makes of them scsi-SQEMU_… and scsi-0QEMU_….
Partitions of a disk have links of their own, its name and -partN, as replicas of real machines do.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import files


@dataclass(frozen=True)
class Naming:
    """How Linux sees a disk."""

    kernel: str = "vd"
    """How the kernel's name begins: vd is virtio-blk, sd is virtio-scsi."""
    links: tuple[str, ...] = ("virtio-",)
    """How udev's links to it begin; without any, udev made none."""
    dashes: bool = False
    """Storage plugins of some vendors keep the dashes before the cut."""
    length: int = 20
    """Of the serial."""
    in_sys: bool = True
    """Whether /sys/block and /dev are shown, and partitions."""
    twin: bool = False
    """Whether another disk has the same serial; udev's link leads to one of them only."""


USUAL = "virtio"
_SCSI = ("scsi-0QEMU_QEMU_HARDDISK_", "scsi-SQEMU_QEMU_HARDDISK_")
_KINDS = {
    USUAL: Naming(in_sys=False),
    "dashed-serial": Naming(dashes=True, in_sys=False),
    "virtio-partitions": Naming(),
    "scsi-disk": Naming("sd", _SCSI),
    "scsi-disk-dashed": Naming("sd", _SCSI, dashes=True),
    "scsi-disk-long": Naming("sd", _SCSI, dashes=True, length=36),
    "no-link": Naming(links=()),
    "no-link-scsi": Naming("sd", links=()),
    "same-serial": Naming(twin=True),
}
NAMINGS = tuple(kind for kind in _KINDS if kind != USUAL)
"""Modes of faults of attachVolume."""


@dataclass(frozen=True)
class _Linux:
    """Where a machine's Linux has its disks."""

    links: Path
    sys_block: Path
    dev: Path


def _linux(state: Path, vm_id: str) -> _Linux:
    links = files.by_id(state, vm_id).absolute()
    return _Linux(links, links.parent / "sys" / "block", links.parent / "dev")


def plug(state: Path, vm_id: str, volume_id: str, kind: str = USUAL) -> None:
    """Show a disk."""
    linux, naming = _linux(state, vm_id), _KINDS[kind]
    unplug(state, vm_id, volume_id)
    target, told = files.volume_path(state, volume_id).absolute(), files.serial(volume_id, naming.dashes, naming.length)
    linux.links.mkdir(parents=True, exist_ok=True)
    partition = _partitioned(linux, _appear(linux, naming, told, target)) if naming.in_sys else None
    if naming.twin:
        twin = linux.dev / "twin.raw"
        files.create(twin, target.stat().st_size)
        _appear(linux, naming, told, twin)
    for prefix in naming.links:
        (linux.links / f"{prefix}{told}").symlink_to(target)
        if partition is not None:
            (linux.links / f"{prefix}{told}-part1").symlink_to(partition)


def _appear(linux: _Linux, naming: Naming, told: str, target: Path) -> str:
    """Show a disk in /sys/block and /dev, and return the kernel's name for it: the first that is free."""
    names = (naming.kernel + letter for letter in "bcdefghijklmnopqrstuvwxyz")
    name = next(one for one in names if not (linux.sys_block / one).exists())
    (linux.sys_block / name).mkdir(parents=True)
    linux.dev.mkdir(exist_ok=True)
    (linux.dev / name).symlink_to(target)
    if naming.kernel == "vd":
        (linux.sys_block / name / "serial").write_text(told)
        return name
    (linux.sys_block / name / "device").mkdir()
    page = bytes((0, 0x80)) + len(told).to_bytes(2, "big") + told.encode()
    (linux.sys_block / name / "device" / "vpd_pg80").write_bytes(page)
    return name


def _partitioned(linux: _Linux, name: str) -> Path:
    """Show a disk's first partition, and return its device."""
    device = linux.dev / f"{name}1"
    device.write_bytes(bytes(1 << 20))
    shown = linux.sys_block / name / device.name
    shown.mkdir()
    (shown / "partition").write_text("1\n")
    return device


def unplug(state: Path, vm_id: str, volume_id: str) -> None:
    """Take away whatever shows a disk, its partition, and the other disk with its serial."""
    linux = _linux(state, vm_id)
    serials = {files.serial(volume_id, dashes, length) for dashes in (False, True) for length in (20, 36)}
    for link in _entries(linux.links):
        if any(link.name.removesuffix("-part1").endswith((f"-{told}", f"_{told}")) for told in serials):
            link.unlink()
    for disk in _entries(linux.sys_block):
        if _told(disk) not in serials:
            continue
        shutil.rmtree(disk)
        device = linux.dev / disk.name
        if device.readlink().parent == linux.dev:
            device.readlink().unlink()
        device.unlink()
        (linux.dev / f"{disk.name}1").unlink(missing_ok=True)
    for empty in (linux.sys_block, linux.sys_block.parent, linux.dev):
        with contextlib.suppress(OSError):
            empty.rmdir()


def _entries(folder: Path) -> list[Path]:
    return [*folder.iterdir()] if folder.is_dir() else []


def _told(disk: Path) -> str:
    page = disk / "device" / "vpd_pg80"
    return page.read_bytes()[4:].decode() if page.exists() else (disk / "serial").read_text()
