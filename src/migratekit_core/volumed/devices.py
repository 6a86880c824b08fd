"""Which block device a volume is: by the serial that CloudStack gives the disk, and only if the size is right. Never
"the newest disk".

The serial is the volume's id, mostly without its dashes and cut to 20 characters. Linux tells it in the names that udev
makes (virtio-blk: `virtio-SERIAL`; virtio-scsi: `scsi-0QEMU_QEMU_HARDDISK_SERIAL` and `scsi-SQEMU_…`) and below
/sys/block. Both are always read: udev's link leads to one disk, also where two have the serial.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError

SERIAL_LENGTH = 20
"""virtio-blk's serial has 20 bytes (virtio 1.2, 5.2.6.1), and CloudStack cuts the volume's id to that. A shorter one
identifies nothing; QEMU's scsi-hd takes up to 36."""
SERIAL = re.compile(r"[0-9a-f-]{20,36}")
"""What may be a volume's: CloudStack's ids are UUIDs."""
LINK = re.compile(rf"(?:virtio-|scsi-[0S]QEMU_QEMU_HARDDISK_)({SERIAL.pattern})")
"""Names that udev gives whole disks; a partition's end in `-partN`, which no serial does that is an id's beginning."""
DISK = re.compile(r"(?:vd|sd)[a-z]+")
"""Names of the kernel for disks of virtio-blk, and of SCSI and what Linux drives as SCSI."""
UNIT_SERIAL_PAGE = 0x80
"""SCSI's vital product data page with the serial number (SPC-4, 7.8.18): 4 bytes of header, the last two the length."""
LONGEST = 4096
"""Bytes of a file below /sys, at most a page."""
LINK_SECONDS = 2.0
"""How long udev may take to name a disk that the kernel has shown; it sets the owner and mode of the device, too."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Places:
    """Where Linux shows its disks (udev's links, the kernel's own names) and who uses them; tests have their own."""

    links: Path
    sys_block: Path = Path("/sys/block")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")


@dataclass(frozen=True)
class Device:
    """A block device of this machine: its best name (a link of udev's where there is one), what that leads to now, its
    size in bytes, and all of its names."""

    link: Path
    path: Path
    size: int
    names: frozenset[Path] = frozenset()


@dataclass(frozen=True)
class Named:
    """A name of a whole disk, the serial that it was given for, and the device that it leads to."""

    name: Path
    serial: str
    path: Path


def scan(places: Places) -> list[Named]:
    """Return every name of a whole disk that tells a serial such as volumes have, udev's first. What cannot be read is
    left out: disks come and go meanwhile."""
    return [*_by_udev(places), *_by_kernel(places)]


def fits(serial: str, volume_id: str) -> bool:
    """Return whether a serial is a volume's: its id with or without dashes, cut at 20 characters or later."""
    spelt = (volume_id.replace("-", ""), volume_id)
    return len(serial) >= SERIAL_LENGTH and any(whole.startswith(serial) for whole in spelt)


def claims(known: Iterable[Named], volume_id: str) -> dict[Path, list[Path]]:
    """Return the names of each device that has a volume's serial; more than one device is one too many."""
    found: dict[Path, list[Path]] = {}
    for one in known:
        if fits(one.serial, volume_id):
            found.setdefault(one.path, []).append(one.name)
    return found


def the_device(claimed: dict[Path, list[Path]]) -> Device | None:
    """Return the one device of `claims`; None where there is none, several have the serial, or it cannot be opened."""
    if len(claimed) != 1:
        return None
    ((path, names),) = claimed.items()
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
    finally:
        os.close(descriptor)
    return Device(names[0], path, size, frozenset((*names, path)))


def find(places: Places, volume_id: str) -> Device | None:
    """Return the device of a volume, or None where the kernel has none, or none that this process may open. Raises
    OperationFailedError (SAME_SERIAL) where several devices have its serial."""
    claimed = claims(scan(places), volume_id)
    if len(claimed) > 1:
        raise same_serial(volume_id, claimed)
    return the_device(claimed)


def same_serial(volume_id: str, rivals: Iterable[Path]) -> OperationFailedError:
    """Return the error for a volume whose serial several devices have."""
    told = sorted(map(str, rivals))
    return OperationFailedError(
        f"{len(told)} devices have the serial of volume {volume_id}",
        ", ".join(told),
        "nothing is read from or written to either: find out which disk is whose (lsblk -o NAME,SIZE,SERIAL on the "
        "OMA, the machine's volumes in CloudStack), and detach the one that does not belong there",
        code=ErrorCode.SAME_SERIAL,
    )


def appears(places: Places, volume_id: str, timeout: float) -> Device | None:
    """Return the device of a volume when it is there, None where it is not within `timeout` seconds.

    One that only the kernel has named yet is waited for LINK_SECONDS longer. Raises OperationFailedError (SAME_SERIAL)
    where several have its serial in the end: an old one may take its time to go.
    """
    deadline = time.monotonic() + timeout
    named_by = None
    while True:
        claimed = claims(scan(places), volume_id)
        device, now = the_device(claimed), time.monotonic()
        if device is not None:
            named_by = named_by or now + LINK_SECONDS
            if device.link.parent == places.links or now > min(named_by, deadline):
                return device
        if now > deadline:
            if len(claimed) > 1:
                raise same_serial(volume_id, claimed)
            return device
        time.sleep(POLL_SECONDS)


def wait_for(places: Places, volume_id: str, size: int, timeout: float) -> Device:
    """Wait until the device of a volume is there; return it. Raises OperationFailedError where it does not appear
    within `timeout` seconds, several have its serial, or it has another size."""
    device = appears(places, volume_id, timeout)
    if device is None:
        raise _missing(places, volume_id, timeout)
    if device.size != size:
        raise OperationFailedError(
            f"device {device.path} is not volume {volume_id}",
            f"it has {device.size} bytes, CloudStack says {size}",
            "two volumes share a serial, or the volume was resized while attached; detach it and try again",
            code=ErrorCode.SIZE_MISMATCH,
            facts={"volume_id": volume_id, "size": device.size, "wanted": size},
        )
    return device


def wait_gone(places: Places, volume_id: str, timeout: float) -> None:
    """Wait until Linux has let go of a volume. Raises OperationFailedError where it does not."""
    deadline = time.monotonic() + timeout
    while claimed := claims(scan(places), volume_id):
        if time.monotonic() > deadline:
            raise OperationFailedError(
                f"volume {volume_id} is detached but Linux still has it",
                f"{', '.join(map(str, claimed))} is still there after {timeout:.0f} s",
                "find who holds the device open (lsof) on the OMA",
                code=ErrorCode.DEVICE_HELD,
                facts={"volume_id": volume_id},
            )
        time.sleep(POLL_SECONDS)


def flush(device: Device) -> None:
    """Write what the kernel still caches of a device to the storage below it."""
    descriptor = os.open(device.link, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _missing(places: Places, volume_id: str, timeout: float) -> OperationFailedError:
    what = f"volume {volume_id} is attached but Linux does not see it"
    for path in claims(scan(places), volume_id):
        return OperationFailedError(
            f"device {path} of volume {volume_id} cannot be opened",
            f"it is there, and this process may not read it after {timeout:.0f} s",
            "run the daemon as its unit does, in the group disk; look at the device's owner and mode (ls -l)",
            code=ErrorCode.DEVICE_UNREADABLE,
            facts={"volume_id": volume_id, "path": str(path)},
        )
    plain, dashed = volume_id.replace("-", "")[:SERIAL_LENGTH], volume_id[:SERIAL_LENGTH]
    return OperationFailedError(
        what,
        f"no disk with the serial {plain} or {dashed} appeared in {places.links} or {places.sys_block} "
        f"within {timeout:.0f} s",
        "look at dmesg and the machine's disks on the OMA (lsblk -o NAME,SIZE,SERIAL), then run again: it is attached "
        "anew",
        code=ErrorCode.DEVICE_MISSING,
        facts={"volume_id": volume_id},
    )


def _by_udev(places: Places) -> Iterator[Named]:
    for link in _entries(places.links):
        named = LINK.fullmatch(link.name)
        path = _disk(places, link) if named else None
        if named is None or path is None:
            continue
        # A link that udev has not caught up with leads to what has its place now.
        told = serial_of(places.sys_block / path.name)
        if not told or told.startswith(named[1]) or named[1].startswith(told):
            yield Named(link, named[1], path)


def _by_kernel(places: Places) -> Iterator[Named]:
    for entry in _entries(places.sys_block):
        told = serial_of(entry) if DISK.fullmatch(entry.name) else ""
        path = _disk(places, places.dev / entry.name) if SERIAL.fullmatch(told) else None
        if path is not None:
            yield Named(places.dev / entry.name, told, path)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _disk(places: Places, name: Path) -> Path | None:
    """Return the device that a name leads to; None where that is no whole disk (a partition, a folder, a loop of links)
    or nothing."""
    try:
        path = name.resolve(strict=True)
        mode = path.stat().st_mode
    except (OSError, RuntimeError):  # Python below 3.13 has this one for a loop
        return None
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        return None
    disk = places.sys_block / path.name.rstrip("0123456789")
    return None if (disk / path.name / "partition").exists() else path


def serial_of(disk: Path) -> str:
    """Return the serial of a disk, by its folder below /sys/block; "" where it has none, or none that makes sense."""
    data = _read(disk / "serial")
    if not data:
        page = _read(disk / "device" / "vpd_pg80")
        length = int.from_bytes(page[2:4], "big")
        if len(page) < 4 + length or page[1:2] != bytes((UNIT_SERIAL_PAGE,)):
            return ""
        data = page[4 : 4 + length]
    return data.decode("ascii", "replace").strip(" \t\r\n\0")


def _read(file: Path) -> bytes:
    try:
        with file.open("rb", buffering=0) as opened:
            return opened.read(LONGEST) or b""
    except OSError:
        return b""
