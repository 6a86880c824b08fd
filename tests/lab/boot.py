"""`python -m tests.lab boot`: a machine is replicated and rehearsed; its copy boots for real and is photographed.

`python -m tests.lab convert` does it with a guest whose initramfs has no virtio drivers: the real virt-v2v-in-place has
to put them in first. It takes minutes without KVM, and needs what docs/conversion.md names.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.lab import bootable, guest
from tests.lab.lab import LAB, Lab, environment, running
from tests.lab.parts.process import LabError

VM = "boot01"
PICTURE = LAB / "boot-console.png"
BOOT_SECONDS = 300
CONVERT_SECONDS = 1800
SETTINGS = {
    "MIGRATEKIT_NETWORKS__TEST": "reachable-test",
    "MIGRATEKIT_FAILOVER__TEST_BOOT_CHECK": f"tcp:{bootable.PORT}/{bootable.GREETING}",
    "MIGRATEKIT_FAILOVER__BOOT_TIMEOUT": str(BOOT_SECONDS),
}


def inventory(images: guest.Images, virtio: bool = True) -> dict[str, object]:
    """Return one machine: the small Linux, and a data disk beside it."""
    linux = {
        "size_bytes": bootable.SIZE,
        "provisioning": "thin",
        "image": str(bootable.make(images.cache, virtio=virtio).path),
    }
    machine: dict[str, Any] = {
        "name": VM,
        "power": "on",
        "tools": "running",
        "memory_mb": 512,
        "guest_id": "debian12_64Guest",
        "disks": [linux, {"size_bytes": 3 * guest.MIB, "provisioning": "thin"}],
        "nics": [{"network": "VM Network"}],
    }
    return {"vms": [machine]}


def main() -> int:
    """Run it in a lab of its own; return 0 where the guest came up."""
    return _play(inventory, {}, ("test-failover", VM))


def convert() -> int:
    """Run it with a guest that has to be converted, which has to be noticed; return 0 where that guest came up."""
    return _play(partial(inventory, virtio=False), _libguestfs(), ("test-failover", VM))


def _libguestfs() -> dict[str, str]:
    """Return what libguestfs needs where no kernel is installed: the one that the set-up has unpacked."""
    kernel = LAB.absolute() / "cache" / "boot" / "kernel"
    image = next(iter(sorted((kernel / "boot").glob("vmlinuz-*"))))
    release = image.name.removeprefix("vmlinuz-")
    modules = kernel / "lib" / "modules" / release
    if not (modules / "modules.dep").exists():
        subprocess.run(["/sbin/depmod", "-b", str(kernel), release], check=True, timeout=60)
    if not Path("/lib/modules").is_dir():
        raise LabError("libguestfs' supermin wants a folder /lib/modules, even an empty one: mkdir /lib/modules")
    return {
        "SUPERMIN_KERNEL": str(image),
        "SUPERMIN_MODULES": str(modules),
        # Nested KVM may be there and not work; what is slow and certain is what a test wants.
        "LIBGUESTFS_BACKEND_SETTINGS": os.environ.get("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg"),
        "MIGRATEKIT_FAILOVER__INSPECT_GUEST": "true",
    }


def _play(
    machines: Callable[[guest.Images], dict[str, object]], extra: dict[str, str], rehearsal: tuple[str, ...]
) -> int:
    with running(LAB / "run", preferred_ports=False, inventory=machines) as lab:
        lab.cloud.boot(VM, ports=(bootable.PORT,))
        _run(lab, extra, "replicate", VM)
        _run(lab, extra, *rehearsal)
        (job,) = [
            job
            for job in json.loads(_run(lab, extra, "jobs", "list", "--output", "json", quiet=True))["jobs"]
            if job["kind"] == "test-failover"
        ]
        _run(lab, extra, "jobs", "show", job["id"])
        (machine,) = [vm for vm in lab.cloud.state()["virtualmachines"] if vm["name"].startswith(f"{VM}-test-")]
        print(lab.cloud.console(machine["name"]).replace("\r", ""), flush=True)
        time.sleep(1)  # the console's last lines
        shutil.copy(lab.cloud.screen(machine["name"]), PICTURE)
        print(f"screen: {PICTURE.relative_to(Path.cwd()) if PICTURE.is_relative_to(Path.cwd()) else PICTURE}")
        _run(lab, extra, "cleanup", VM)
    return 0


def _run(lab: Lab, extra: dict[str, str], *arguments: str, quiet: bool = False) -> str:
    began = time.monotonic()
    done = lab.migratekit(
        *arguments, env={**environment(), **SETTINGS, **extra}, timeout=BOOT_SECONDS + CONVERT_SECONDS
    )
    if not quiet:
        print(f"$ migratekit {' '.join(arguments)}\n{done.stderr}{done.stdout}  ({time.monotonic() - began:.1f} s)")
    if done.returncode != 0:
        raise LabError(f"{arguments[0]} ended with {done.returncode}: {done.stderr}")
    return str(done.stdout)
