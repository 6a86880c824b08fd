"""Makes the guest's disks, once: Debian's packages, then an installation into a volume group, by the guest itself.

The build machine's kernel has no device-mapper and no md, so what needs them runs in qemu (install.sh). What was made
is kept in .lab/cache/oma-guest, by the sum of all that it is made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
SUITE = "bookworm"
PACKAGES = (
    *(
        "systemd",
        "systemd-sysv",
        "udev",
        "dbus",
        "linux-image-cloud-amd64",
        "initramfs-tools",
        "busybox",
        "zstd",
        "kmod",
    ),
    *("grub-pc", "e2fsprogs", "fdisk", "rsync", "procps", "iproute2", "ifupdown"),
    # What activates what is on a disk.
    *("lvm2", "mdadm", "multipath-tools", "btrfs-progs", "udisks2"),
    # What the Debian package of MigrateKit asks for.
    *("python3", "python3-libnbd", "libnbd-bin", "nbdkit", "haproxy", "adduser", "init-system-helpers", "openssl"),
)
MIB = 1 << 20
BUILD_SECONDS = 3600


def volume_id(name: str) -> str:
    """Return the id that CloudStack has for one of the guest's volumes."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.oma-guest.lab.migratekit"))


def serial(volume_id: str) -> str:
    """Return the serial that CloudStack gives a disk on KVM: the id without dashes, cut to 20 characters."""
    return volume_id.replace("-", "")[:20]


OWN_ROOT, OWN_DATA = volume_id("root"), volume_id("data")
"""The OMA's own disks: its root disk (virtio-blk) with the volume group `oma`, one with `omadata` (virtio-scsi)."""
REPLICAS = {
    "lvm": volume_id("replica-lvm"),
    "vg": volume_id("replica-vg"),
    "md1": volume_id("replica-md1"),
    "md2": volume_id("replica-md2"),
    "btrfs1": volume_id("replica-btrfs1"),
    "btrfs2": volume_id("replica-btrfs2"),
    "ext4": volume_id("replica-ext4"),
    "paths": volume_id("replica-paths"),
}
"""Replicas by what they hold: a volume group `oma` like the OMA's own, one of another name, the halves of an array and
of a btrfs, an ext4 with a label, and a disk that is plugged in twice."""
SIZES = {"lvm": 96, "vg": 64, "md1": 64, "md2": 64, "btrfs1": 128, "btrfs2": 128, "ext4": 64, "paths": 64}
"""MiB."""


@dataclass(frozen=True)
class Images:
    """The guest's disks; nobody writes to these files: a guest works on overlays or copies."""

    root: Path
    data: Path
    replicas: dict[str, Path]


def make(cache: Path) -> Images:
    """Return the disks, made now (a quarter of an hour) where the cache has none of this very content."""
    recipe = b"".join((HERE / name).read_bytes() for name in ("image.py", "install.sh", "agent.py"))
    folder = cache / f"disks-{hashlib.sha256(recipe).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            for old in cache.glob("disks-*"):
                shutil.rmtree(old)
            work = cache / "work"
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir()
            _install(_base(cache), work)
            work.rename(folder)
    return Images(folder / "root.img", folder / "data.img", {name: folder / f"{name}.img" for name in REPLICAS})


def _base(cache: Path) -> Path:
    """Return a tar archive of a Debian with the packages."""
    name = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:16]
    path = cache / f"base-{name}.tar"
    if not path.exists():
        print("oma_guest: making a Debian with mmdebstrap", flush=True)
        beside = path.with_suffix(".new.tar")
        _run(
            *("mmdebstrap", "--variant=minbase", "--mode=root", f"--include={','.join(PACKAGES)}"),
            *('--aptopt=Acquire::Check-Valid-Until "false"', SUITE, str(beside), _mirror()),
        )
        for old in cache.glob("base-*.tar"):
            if old != beside:
                old.unlink()
        beside.rename(path)
    return path


def _mirror() -> str:
    """Return the archive that this machine itself installs from."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)"], check=True, capture_output=True, text=True
    ).stdout
    found = [line.partition(" ")[0] for line in said.splitlines() if line.endswith(f" {SUITE}")]
    if not found:
        raise RuntimeError(f"this machine's apt knows no archive of {SUITE}: run apt-get update")
    return found[0]


def _install(base: Path, work: Path) -> None:
    root = work / "root"
    root.mkdir()
    _run("tar", "-xf", str(base), "-C", str(root))
    _furnish(root)
    (kernel,), (initrd,) = (root / "boot").glob("vmlinuz-*"), (root / "boot").glob("initrd.img-*")
    for name, source in (("kernel", kernel), ("initrd", initrd)):
        shutil.copy(source, work / name)
    _run("mke2fs", "-q", "-F", "-t", "ext4", "-d", str(root), str(work / "installer.img"), "2300M")
    shutil.rmtree(root)
    sizes = {"root": 3200, "data": 256, **SIZES}
    for name, size in sizes.items():
        with (work / f"{name}.img").open("wb") as file:
            file.truncate(size * MIB)
    ids = {"root": OWN_ROOT, "data": OWN_DATA, **REPLICAS}
    words = [f"lab.{name}={serial(ids[key])}" for key, name in _names().items()]
    command = [
        *("qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{work / 'console.log'}"),
        *("-kernel", str(work / "kernel"), "-initrd", str(work / "initrd")),
        *("-append", f"console=ttyS0 nokaslr root=/dev/vda rw init=/lab/install.sh panic=-1 {' '.join(words)}"),
        *("-device", "virtio-scsi-pci,id=scsi"),
        *_drive(work / "installer.img", "virtio-blk-pci,serial=installer"),
    ]
    for name in sizes:
        kind = "scsi-hd,bus=scsi.0" if name == "data" else "virtio-blk-pci"
        command += _drive(work / f"{name}.img", f"{kind},serial={serial(ids[name])}")
    print("oma_guest: installing it into a volume group, in qemu", flush=True)
    _run(*command)
    said = (work / "console.log").read_text(errors="replace")
    if "INSTALL DONE" not in said:
        raise RuntimeError(f"the guest was not installed:\n{said[-4000:]}")
    for name in ("kernel", "initrd", "installer.img"):
        (work / name).unlink()


def _names() -> dict[str, str]:
    """Return install.sh's names of the disks."""
    return {"root": "OMA_ROOT", "data": "OMA_DATA", **{name: f"REPLICA_{name.upper()}" for name in REPLICAS}}


def _drive(image: Path, device: str) -> list[str]:
    name = image.stem
    drive = f"file={image},format=raw,if=none,id=drive-{name},cache=unsafe,discard=unmap"
    return ["-drive", drive, "-device", f"{device},drive=drive-{name},id=disk-{name}"]


def _furnish(root: Path) -> None:
    """Put into the system what makes it a guest of the lab."""
    files = {
        "etc/hostname": "oma\n",
        "etc/hosts": "127.0.0.1 localhost oma\n",
        "etc/network/interfaces": "auto lo\niface lo inet loopback\nauto ens3\niface ens3 inet static\n"
        "  address 10.0.2.15/24\n  gateway 10.0.2.2\n",
        "etc/systemd/system/lab-agent.service": (
            "[Unit]\nDescription=The lab's way in\n"
            "[Service]\nExecStart=/usr/bin/python3 /lab/agent.py /dev/virtio-ports/lab.agent\nRestart=always\n"
            "[Install]\nWantedBy=multi-user.target\n"
        ),
        # Half the modules: without KVM an initramfs takes minutes to make.
        "etc/initramfs-tools/conf.d/lab.conf": "MODULES=dep\nCOMPRESS=gzip\n",
        "lab/agent.py": (HERE / "agent.py").read_text(),
        "lab/install.sh": (HERE / "install.sh").read_text(),
    }
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "lab" / "install.sh").chmod(0o755)
    (root / "etc/machine-id").write_text("")
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    wanted.mkdir(exist_ok=True)
    (wanted / "lab-agent.service").symlink_to("/etc/systemd/system/lab-agent.service")
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "man-db.timer", "fstrim.timer"):
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-2000:]}")
