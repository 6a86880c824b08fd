"""Makes the disk image: boot sector and GRUB's core before the one partition, in which everything else is."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from tests.lab.bootable import tree
from tests.lab.bootable.tree import BANNER, GREETING, PORT

__all__ = ["BANNER", "GREETING", "PORT", "SIZE", "Image", "make"]

MIB = 1 << 20
SECTOR = 512
SIZE = 96 * MIB
"""Of the disk, in bytes, most of them free, as virt-v2v wants it; the first MiB is before the partition."""
GRUB = Path("/usr/lib/grub/i386-pc")
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "search_fs_uuid", "normal", "configfile", "linux", "echo", "minicmd")
BOOT_CODE = 440
"""Bytes of the boot sector that are code; the disk's signature and the partition table follow."""


@dataclass(frozen=True)
class Image:
    """A disk image of the guest."""

    path: Path
    kernel: str
    """The kernel's release."""
    virtio: bool
    """Whether the initramfs has virtio drivers; without, the guest does not find its disk on KVM."""


def make(cache: Path, *, virtio: bool = True) -> Image:
    """Return the image, made now where the cache has none of this very content."""
    kernel = tree.kernel(cache)
    sources = [Path(__file__), Path(tree.__file__)]
    recipe = b"".join(path.read_bytes() for path in sources) + f"{kernel.release} {virtio}".encode()
    name = hashlib.sha256(recipe).hexdigest()[:16]
    path = cache / f"guest-{name}.img"
    if not path.exists():
        work = cache / f"work-{name}-{os.getpid()}"
        try:
            _build(work, kernel, virtio)
            (work / "disk.img").rename(path)  # complete or not there: somebody else may make it at the same time
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Image(path, kernel.release, virtio)


def _build(work: Path, kernel: tree.Kernel, virtio: bool) -> None:
    work.mkdir(parents=True)
    file_system = str(uuid.uuid5(uuid.NAMESPACE_DNS, "guest.lab.migratekit"))
    root = tree.root(work / "root", work, kernel, file_system, virtio)
    partition, disk = work / "partition.img", work / "disk.img"
    _run(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "0", "-U", file_system, "-L", "labroot"),
        *("-d", str(root), str(partition), str((SIZE - MIB) // 4096)),
    )
    with disk.open("wb") as file:
        file.write(_before_partition(work, file_system))
        file.truncate(SIZE)
    # Only what the file system holds: the image stays as sparse as the disk of a thin machine.
    _run("dd", f"if={partition}", f"of={disk}", "bs=1M", "seek=1", "conv=notrunc,sparse", "status=none")


def _before_partition(work: Path, file_system: str) -> bytes:
    """Return the boot sector with its partition table, and GRUB's core behind it."""
    config, core = work / "early.cfg", work / "core.img"
    config.write_text(f"search.fs_uuid {file_system} root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n")
    _run(
        *("grub-mkimage", "-O", "i386-pc", "-d", str(GRUB), "-p", "/boot/grub", "-c", str(config), "-o", str(core)),
        *GRUB_MODULES,
    )
    boot = (GRUB / "boot.img").read_bytes()[:BOOT_CODE]
    first, count = MIB // SECTOR, (SIZE - MIB) // SECTOR
    # Active, Linux (0x83), by LBA; the CHS fields say "beyond what they can say".
    entry = struct.pack("<B3sB3sII", 0x80, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", first, count)
    sector = boot + b"labG\0\0" + entry + bytes(3 * 16) + b"\x55\xaa"
    assert len(sector) == SECTOR
    code = core.read_bytes()
    assert len(code) <= MIB - SECTOR, "GRUB's core has to fit before the partition"
    return sector + code


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()}")
