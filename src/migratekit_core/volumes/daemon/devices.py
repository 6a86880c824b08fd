"""Which block device a volume is: by its virtio serial, and only if the size is right. Never "the newest disk"."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.errors import OperationFailedError

SERIAL_LENGTH = 20
"""virtio-blk's serial has 20 bytes (virtio 1.2, 5.2.6.1); CloudStack on KVM puts the volume's id there."""
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Device:
    """A block device of this machine: its stable name, what that leads to now, and its size in bytes."""

    link: Path
    path: Path
    size: int


def candidates(directory: Path, volume_id: str) -> list[Path]:
    """Return the names that udev may have given a volume: the serial has the id without its dashes, or with them."""
    plain = volume_id.replace("-", "")[:SERIAL_LENGTH]
    dashed = volume_id[:SERIAL_LENGTH]
    return [directory / f"virtio-{serial}" for serial in (plain, dashed)]


def find(directory: Path, volume_id: str) -> Device | None:
    """Return the device of a volume, or None where the kernel has none."""
    for link in candidates(directory, volume_id):
        try:
            descriptor = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
        finally:
            os.close(descriptor)
        return Device(link, link.resolve(), size)
    return None


def held(directory: Path, volume_id: str) -> bool:
    """Return whether the device of a volume is mounted, or part of a volume group or an array: then it cannot be opened
    for oneself alone (open(2), O_EXCL on a block device)."""
    for link in candidates(directory, volume_id):
        try:
            os.close(os.open(link, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
    return False


def appears(directory: Path, volume_id: str, timeout: float) -> bool:
    """Return whether the device of a volume is there, or comes within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while find(directory, volume_id) is None:
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def wait_for(directory: Path, volume_id: str, size: int, timeout: float) -> Device:
    """Wait until the device of a volume is there; return it. Raises OperationFailedError where it does not appear
    within `timeout` seconds or has another size."""
    device = find(directory, volume_id) if appears(directory, volume_id, timeout) else None
    if device is None:
        names = " or ".join(path.name for path in candidates(directory, volume_id))
        raise OperationFailedError(
            f"volume {volume_id} is attached but Linux does not see it",
            f"{names} did not appear in {directory} within {timeout:.0f} s",
            "look at dmesg and the machine's devices on the OMA, then run again: it is attached anew",
        )
    if device.size != size:
        raise OperationFailedError(
            f"device {device.path} is not volume {volume_id}",
            f"it has {device.size} bytes, CloudStack says {size}",
            "two volumes share a serial, or the volume was resized while attached; detach it and try again",
        )
    return device


def wait_gone(directory: Path, volume_id: str, timeout: float) -> None:
    """Wait until Linux has let go of a volume. Raises OperationFailedError where it does not."""
    deadline = time.monotonic() + timeout
    while find(directory, volume_id) is not None:
        if time.monotonic() > deadline:
            raise OperationFailedError(
                f"volume {volume_id} is detached but Linux still has it",
                f"its device is still in {directory} after {timeout:.0f} s",
                "find who holds the device open (lsof) on the OMA",
            )
        time.sleep(POLL_SECONDS)


def flush(device: Device) -> None:
    """Write what the kernel still caches of a device to the storage below it."""
    descriptor = os.open(device.link, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
