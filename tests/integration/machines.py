"""The machines of the shared lab: each test module has its own, so that none depends on another's state."""

from __future__ import annotations

import random
from typing import Any

from tests.lab import bootable
from tests.lab.guest import SYSTEM_SIZE, Images, inventory
from tests.lab.noise import noise
from tests.lab.parts.vcenter import VCenter

MIB = 1 << 20
HOSTILE = "hostile01"
SLASHED = "50% of a/b"
"""A name that the API has escaped."""


def machine(name: str, *disks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a running machine with one card in the mapped network; `more` overrides."""
    nics = [{"network": "VM Network"}]
    return {
        "name": name,
        "power": "on",
        "tools": "running",
        "disks": list(disks),
        "nics": nics,
        "memory_mb": 512,
        **more,
    }


def thin(size: int) -> dict[str, Any]:
    """Return an empty disk."""
    return {"size_bytes": size, "provisioning": "thin"}


def random_disk(images: Images, name: str, size: int) -> dict[str, Any]:
    """Return a thick disk full of random data, the same in every run."""
    path = images.data.parent / f"{name}.img"
    path.write_bytes(noise(name, size))
    return {"size_bytes": size, "provisioning": "thick", "image": str(path)}


def shared(images: Images) -> dict[str, Any]:
    """Return the inventory of the shared lab."""
    small = thin(8 * MIB)
    two_networks = [{"network": "DC0_DVPG0"}, {"network": "DC0_DVPG1"}]
    card = {"network": "VM Network", "mac": "00:50:56:00:00:21", "type": "vmxnet3", "ip": "192.0.2.21"}
    system = {"size_bytes": SYSTEM_SIZE, "provisioning": "thin", "image": str(images.system)}
    linux = {
        "size_bytes": bootable.SIZE,
        "provisioning": "thin",
        "image": str(bootable.make(images.cache).path),
    }
    machines = [
        machine("boot01", linux, thin(3 * MIB), guest_id="debian12_64Guest"),
        machine("convert01", random_disk(images, "convert01", 9 * MIB), random_disk(images, "convert02", 6 * MIB)),
        machine("windows01", random_disk(images, "windows01", 6 * MIB), guest_id="windows2019srv_64Guest"),
        machine(
            "main01",
            system,
            random_disk(images, "main01", 16 * MIB + 12 * 1024 + 512),
            nics=[card],
            folder="prod/main",
            cpus=2,
            memory_mb=1024,
            firmware="efi",
            guest_id="debian12_64Guest",
        ),
        machine("offline01", small, power="off", tools="notRunning"),
        machine("deaf01", small, tools="notRunning"),
        machine("ignores01", small, shutdown="ignored"),
        machine("unmapped01", small, nics=two_networks),
        machine("backup-off", small),
        machine("backup-on", small, cbt=True),
        machine("template01", small, power="off", tools="notRunning"),
        machine("room01", random_disk(images, "room01", MIB)),
        machine("lock01", random_disk(images, "lock01", 24 * MIB)),
        machine("epoch01", random_disk(images, "epoch01", 8 * MIB)),
        machine("grown01", random_disk(images, "grown01", 4 * MIB)),
        machine("outgrown01", random_disk(images, "outgrown01", 4 * MIB)),
        machine("verify01", random_disk(images, "verify01", 9 * MIB + 1536), thin(32 * MIB)),
        machine("paced01", random_disk(images, "paced01", 4 * MIB), random_disk(images, "paced02", 4 * MIB)),
        machine("compare01", random_disk(images, "compare01", 24 * MIB)),
        machine("pages01", thin(288 * MIB)),
        machine("tracked01", thin(16 * MIB), random_disk(images, "tracked01", 4 * MIB + 1536)),
        machine("excluded01", thin(MIB)),
        machine("slow01", random_disk(images, "slow01", 2 * MIB)),
        machine("deleted01", random_disk(images, "deleted01", 12 * MIB)),
        machine("deleted02", random_disk(images, "deleted02", MIB)),
        machine("filling01", random_disk(images, "filling01", 12 * MIB)),
        machine("moved01", random_disk(images, "moved01", 4 * MIB), random_disk(images, "moved02", 4 * MIB)),
        machine("docs01", random_disk(images, "docs01", 2 * MIB)),
        machine("ways01", small),
        machine("refused01", small, nics=two_networks, tools="notRunning", cpus=2),
        machine(
            "deploy01",
            random_disk(images, "deploy01", 4 * MIB),
            small,
            thin(12 * MIB),
            nics=[{"network": "VM Network", "mac": "00:50:56:00:00:77", "type": "vmxnet3", "ip": "10.1.1.77"}],
            cpus=2,
            memory_mb=1024,
            firmware="efi",
            guest_id="debian12_64Guest",
        ),
        machine("ssh01", random_disk(images, "ssh01", 6 * MIB)),
        machine("esxi01", random_disk(images, "esxi01", 9 * MIB + 1536), thin(32 * MIB)),
        machine("vddk01", random_disk(images, "vddk01", 24 * MIB + 1536), thin(32 * MIB)),
        machine("auto01", random_disk(images, "auto01", MIB)),
        machine("secret01", random_disk(images, "secret01", 24 * MIB)),
        machine("due01", random_disk(images, "due01", 12 * MIB)),
        machine("wave01", random_disk(images, "wave01", 4 * MIB)),
        machine("wave02", small),
        machine("planted01", random_disk(images, "planted01", 2 * MIB)),
        machine("record01", random_disk(images, "record01", MIB)),
        machine("asked01", random_disk(images, "asked01", 2 * MIB)),
        machine("hard01", random_disk(images, "hard01", 4 * MIB), thin(8 * MIB)),
        machine(SLASHED, random_disk(images, "slashed", MIB)),
        machine("lost01", thin(MIB)),
        machine(HOSTILE, random_disk(images, HOSTILE, MIB)),
        machine("hard02", thin(MIB), thin(3 << 30)),
        machine("cancel01", random_disk(images, "cancel01", 48 * MIB)),
    ]
    return {"portgroups": 2, "vms": [*inventory(images)["vms"], *machines]}


def overwrite(vcenter: VCenter, vm: str, disk: int, offset: int, size: int, seed: int) -> None:
    """Have the guest write random data in one stretch."""
    vcenter.write(vm, disk, offset, random.Random(seed).randbytes(size))
