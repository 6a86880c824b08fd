"""What the lab's guests have on their disks, and how they write: an ext4 file system with files, and random data."""

from __future__ import annotations

import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.lab.noise import noise
from tests.lab.parts.vcenter import VCenter

MIB = 1024 * 1024
SYSTEM_SIZE = 192 * MIB + 68 * 1024
"""Of the thin disk with the file system; not a multiple of 1 MiB."""
DATA_SIZE = 64 * MIB + 12 * 1024 + 512
"""Of the thick disk with random data; an odd number of sectors."""
BLOCK = 4096


@dataclass(frozen=True)
class Images:
    """Raw images that a machine's disks are made of."""

    system: Path
    data: Path
    cache: Path
    """Where images that take long to make are kept from one lab to the next."""


def make_images(folder: Path, cache: Path, seed: int = 1) -> Images:
    """Make the two images of a guest; the files in the file system are made from `seed`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    tree = folder / "tree"
    (tree / "etc").mkdir(parents=True, exist_ok=True)
    (tree / "srv").mkdir(exist_ok=True)
    (tree / "etc" / "hostname").write_text("web01\n")
    for number in range(24):
        (tree / "srv" / f"file{number:02}.bin").write_bytes(rng.randbytes(rng.randrange(1, MIB)))
    system, data = folder / "system.img", folder / "data.img"
    with system.open("wb") as file:
        file.truncate(SYSTEM_SIZE)
    # Everything that could differ from run to run is fixed; the size is whole blocks within the odd-sized disk.
    subprocess.run(
        ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-d", str(tree), str(system), str(SYSTEM_SIZE // BLOCK)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    with data.open("wb") as file:
        file.write(noise(seed, DATA_SIZE))
    return Images(system, data, cache)


def inventory(images: Images) -> dict[str, object]:
    """Return the lab's machines: web01 is the one of the demo, the others make names ambiguous or disks unreadable."""
    nic = {"network": "VM Network", "mac": "00:50:56:00:00:01", "type": "vmxnet3", "ip": "192.0.2.11"}
    small = [{"size_bytes": 8 * MIB, "provisioning": "thin"}]
    return {
        "vms": [
            {
                "name": "web01",
                "folder": "prod/web",
                "cpus": 1,
                "memory_mb": 512,
                "firmware": "bios",
                "guest_id": "debian12_64Guest",
                "power": "on",
                "tools": "running",
                "disks": [
                    {"size_bytes": SYSTEM_SIZE, "provisioning": "thin", "image": str(images.system)},
                    {"size_bytes": DATA_SIZE, "provisioning": "thick", "image": str(images.data)},
                ],
                "nics": [nic],
            },
            {
                "name": "db01",
                "folder": "prod/db",
                "cpus": 2,
                "memory_mb": 1024,
                "firmware": "efi",
                "guest_id": "ubuntu64Guest",
                "power": "on",
                "tools": "notRunning",
                "disks": small,
                "nics": [{"network": "DC0_DVPG0", "mac": "00:50:56:00:00:02"}],
            },
            {"name": "twin", "folder": "a", "disks": small, "nics": [{"network": "VM Network"}]},
            {"name": "twin", "folder": "b", "disks": small, "nics": [{"network": "VM Network"}]},
        ]
    }


ON_VSAN, WITH_SNAPSHOTS = "object01", "chained01"
"""The machines that `with_chains` adds: one on vSAN, and one that has three snapshots already."""


def with_chains(images: Images) -> dict[str, object]:
    """Return the lab's machines, and two whose disks are no flat file: on vSAN, and with three earlier snapshots."""
    made = inventory(images)
    common = {"folder": "prod/db", "cpus": 1, "memory_mb": 512, "power": "on", "tools": "running"}
    nic = {"network": "VM Network", "type": "vmxnet3"}
    disks = [
        {"size_bytes": DATA_SIZE, "provisioning": "thin", "image": str(images.data)},
        {"size_bytes": SYSTEM_SIZE, "provisioning": "thin", "image": str(images.system)},
    ]
    # Each snapshot is followed by writes: within blocks, over them, and over what the one before wrote.
    writes = [{"disk": 0, "offset": 5 * MIB + 512, "length": 300 * 1024}, {"disk": 1, "offset": 0, "length": 512}]
    snapshots = [
        {"name": name, "writes": [*writes, {"disk": 0, "offset": number * 7 * MIB, "length": MIB}]}
        for number, name in enumerate(("before update", "after update", "before 2/3"), 1)
    ]
    made["vms"] = [
        *made["vms"],  # type: ignore[misc]
        {**common, "name": ON_VSAN, "datastore": "vsan01", "disks": disks[:1], "nics": [{**nic, "ip": "192.0.2.21"}]},
        # Change tracking cannot be switched on any more where there are snapshots.
        {**common, "name": WITH_SNAPSHOTS, "cbt": True, "disks": disks, "snapshots": snapshots, "nics": [nic]},
    ]
    return made


def add_file(vcenter: VCenter, vm: str, disk: int, name: str, content: bytes, work: Path) -> int:
    """Have a guest write a file into its ext4: made on a copy, then every block that differs is written.

    Return how many bytes the guest wrote.
    """
    before = vcenter.read(vm, disk)
    image, local = work / "guest.img", work / "guest.file"
    image.write_bytes(before)
    local.write_bytes(content)
    subprocess.run(
        ["debugfs", "-w", "-R", f"write {local} {name}", str(image)], check=True, capture_output=True, timeout=60
    )
    after = image.read_bytes()
    image.unlink()
    local.unlink()
    return write_difference(vcenter, vm, disk, before, after)


def write_difference(vcenter: VCenter, vm: str, disk: int, before: bytes, after: bytes) -> int:
    """Have a guest write the blocks in which two contents of its disk differ; return how many bytes."""
    written = 0
    for offset in range(0, len(after), BLOCK):
        if before[offset : offset + BLOCK] != after[offset : offset + BLOCK]:
            vcenter.write(vm, disk, offset, after[offset : offset + BLOCK])
            written += len(after[offset : offset + BLOCK])
    return written


def scatter(vcenter: VCenter, vm: str, disk: int, size: int, count: int, rng: random.Random) -> int:
    """Have a guest write random data to `count` random places; return how many bytes."""
    written = 0
    for _ in range(count):
        length = rng.choice([512, 4096, 65536])
        offset = rng.randrange(0, size - length) // 512 * 512
        vcenter.write(vm, disk, offset, os.urandom(length))
        written += length
    return written
