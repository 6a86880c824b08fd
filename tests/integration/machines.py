"""The machines of the shared lab: each test module has its own, so that none depends on another's state."""

from __future__ import annotations

import random
from typing import Any

from tests.lab.guest import SYSTEM_SIZE, Images, inventory
from tests.lab.parts.vcenter import VCenter

MIB = 1 << 20


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
    path.write_bytes(random.Random(name).randbytes(size))
    return {"size_bytes": size, "provisioning": "thick", "image": str(path)}


def shared(images: Images) -> dict[str, Any]:
    """Return the inventory of the shared lab."""
    small = thin(8 * MIB)
    two_networks = [{"network": "DC0_DVPG0"}, {"network": "DC0_DVPG1"}]
    card = {"network": "VM Network", "mac": "00:50:56:00:00:21", "type": "vmxnet3", "ip": "192.0.2.21"}
    system = {"size_bytes": SYSTEM_SIZE, "provisioning": "thin", "image": str(images.system)}
    machines = [
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
        machine("pages01", thin(288 * MIB)),
        machine("secret01", random_disk(images, "secret01", 24 * MIB)),
    ]
    return {"portgroups": 2, "vms": [*inventory(images)["vms"], *machines]}


def overwrite(vcenter: VCenter, vm: str, disk: int, offset: int, size: int, seed: int) -> None:
    """Have the guest write random data in one stretch."""
    vcenter.write(vm, disk, offset, random.Random(seed).randbytes(size))
