"""Looks into a guest's disk, read only, by libguestfs: whether it can, and whether its Linux has virtio drivers."""

from __future__ import annotations

import contextlib
import re
import resource
import shutil
import subprocess
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.redact import redact
from migratekit_core.joblog import Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.guests import initramfs, reading, tool

GUESTFISH = "guestfish"
MOST_WRITTEN = 8 << 30
"""Bytes of any one file that libguestfs writes on this host."""
SECONDS = 600.0
"""Without KVM libguestfs takes a minute and more."""
NOT_BOOTED = re.compile(r"rescue|kdump|fallback", re.I)
FETCH = (
    "-glob copy-out /boot/initrd.img* {target}",
    "-glob copy-out /boot/initramfs-*.img {target}",
    "-glob copy-out /boot/initrd-* {target}",
    "-glob copy-out /boot/config-* {target}",
)


def available() -> bool:
    """Return whether libguestfs' shell is installed here."""
    return shutil.which(GUESTFISH) is not None


def prove(disk: Path, vm_name: str) -> None:
    """Have libguestfs start and read the disk. Raises PreconditionError, with its words, where it cannot."""
    done = _guestfish(disk, ["run", "list-filesystems"])
    if done.returncode != 0:
        raise PreconditionError(
            f"libguestfs does not work on this host, so {vm_name} cannot be converted",
            _last(done.stderr),
            "find the cause with: libguestfs-test-tool; or go on without conversion: --no-convert",
            code=ErrorCode.CONVERSION_IMPOSSIBLE,
            facts={"vm": vm_name},
        )


def lacks_virtio(disk: Path, folder: Path, step: Step) -> bool:
    """Return whether the Linux on a disk has kernels, and none of them a driver for virtio disks early enough.

    What cannot be read counts as fine, and is told: most guests are, and a conversion is not without risk.
    """
    target = folder / "boot"
    target.mkdir()
    done = _guestfish(disk, [line.format(target=target) for line in FETCH], inspect=True)
    if done.returncode != 0:
        step.log(EventKind.GUEST_UNREADABLE, level="warning", reason=_last(done.stderr))
        return False
    files = [file for file in sorted(target.iterdir()) if file.is_file() and not file.is_symlink()]
    for file in files:
        with contextlib.suppress(initramfs.UnreadableError):
            if file.name.startswith("config-") and reading.read("config", file):
                step.log(EventKind.VIRTIO_BUILT_IN)
                return False
    found: dict[str, bool] = {}
    for file in files:
        if file.name.startswith("config-") or NOT_BOOTED.search(file.name):
            continue
        try:
            found[file.name] = bool(reading.read("initramfs", file))
        except initramfs.UnreadableError as error:
            step.log(EventKind.INITRAMFS_UNREADABLE, level="warning", file=file.name, reason=str(error))
            return False
    step.log(EventKind.INITRAMFS_READ, virtio=found)
    return bool(found) and not any(found.values())


def _guestfish(disk: Path, lines: list[str], *, inspect: bool = False) -> subprocess.CompletedProcess[str]:
    command = [GUESTFISH, "--ro", "--format=raw", "-a", str(disk), *(["-i"] if inspect else [])]
    try:
        return subprocess.run(
            command,
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env=tool.environment(),
            preexec_fn=_limited,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"libguestfs takes more than {SECONDS:.0f} s")


def _limited() -> None:
    """Bound what a guest's files may fill here: libguestfs' own appliance has 4 GiB, and is sparse."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_WRITTEN, MOST_WRITTEN))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return redact((errors or lines or ["it said nothing"])[0])
