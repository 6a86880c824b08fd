"""Runs virt-v2v-in-place on exported volumes: each is a file of this host for as long as it takes (nbdfuse).

The tool knows no NBD exports with names, but files. It writes through them to the volumes, where they are.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common import childprocess, programs
from migratekit_core.common import failpoints as points
from migratekit_core.common.childprocess import Child, last_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.redact import child_environment, redact
from migratekit_core.joblog import Job, Step
from migratekit_core.joblog.cancel import watched
from migratekit_core.joblog.events import EventKind

TOOL = "virt-v2v-in-place"
FUSE = Path("/dev/fuse")
_MOUNTING = {"nbdfuse": "libnbd-bin", "fusermount3": "fuse3"}
MOUNT_SECONDS = 30.0
STOP_SECONDS = 10.0
FAILOVER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_LINES = 500
"""Lines of the tool's output that go to the joblog; the whole of it is told by the tool's own -v, by hand."""


@dataclass(frozen=True)
class Settings:
    """How to run the tool."""

    timeout: float
    """Seconds."""
    virtio_win: Path | None
    """Where the Windows drivers are; None where the guest needs none."""


def which(name: str) -> str | None:
    """Return the path of a program; some distributions keep the tool in libexec."""
    return shutil.which(name) or shutil.which(name, path=f"{programs.ALSO}:/usr/libexec")


def missing() -> list[str]:
    """Return what a conversion lacks on this host, each with its Debian package."""
    wanted = {TOOL: "virt-v2v", "qemu-system-x86_64": "qemu-system-x86", **_MOUNTING}
    lacking = [f"{name} (package {package})" for name, package in wanted.items() if which(name) is None]
    if not FUSE.exists():
        lacking.append(f"{FUSE} (kernel module fuse)")
    if not (os.environ.get("SUPERMIN_KERNEL") or os.environ.get("LIBGUESTFS_PATH")) and not any(
        Path("/boot").glob("vmlinuz-*")
    ):
        lacking.append("a kernel for libguestfs in /boot (package linux-image-amd64)")
    return lacking


def can_mount() -> bool:
    """Return whether exports can be files of this host."""
    return FUSE.exists() and all(map(which, _MOUNTING))


def environment(settings: Settings | None = None) -> dict[str, str]:
    """Return libguestfs' environment: this process's without its secrets, and without the need of a libvirt daemon."""
    found = {"LIBGUESTFS_BACKEND": "direct", **child_environment()}
    if settings is not None and settings.virtio_win is not None:
        found["VIRTIO_WIN"] = str(settings.virtio_win)
    return found


def private_folder(failover_id: str) -> Path:
    """Make a folder of mode 0700 for a failover's mounts; `clear` takes it away, also that of a run that was killed.

    It is found again by the failover's id: no path is remembered in a database, which others may write to. Raises
    PreconditionError where somebody else has a folder of that name.
    """
    folder = _folders(failover_id)[0]
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise PreconditionError(
            f"the conversion cannot use {folder}",
            error.strerror or str(error),
            "remove it, if it is nobody's; or set XDG_RUNTIME_DIR to a folder that only this user may write to",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(folder)},
        ) from None
    return folder


def clear(failover_id: str) -> None:
    """Unmount what a failover has mounted on this host, and remove its folders: those that are this user's own."""
    for folder in _folders(failover_id):
        try:
            about = folder.lstat()
        except OSError:
            continue
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
            continue
        for mount in sorted(folder.glob("disk*")):
            _unmount(mount)
        shutil.rmtree(folder, ignore_errors=True)


def _folders(failover_id: str) -> list[Path]:
    """Return where a failover's mounts may be, the place for new ones first."""
    if not FAILOVER_ID.fullmatch(failover_id):
        raise OperationFailedError(
            "a failover has an id that is none", repr(failover_id), "report this", code=ErrorCode.UNEXPECTED
        )
    bases = [os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir()]
    return [Path(base) / f"migratekit-convert-{failover_id}" for base in dict.fromkeys(filter(None, bases))]


@contextmanager
def mounted(folder: Path, uris: Mapping[str, str], *, read_only: bool = False) -> Iterator[dict[str, Path]]:
    """Have each NBD URI be a file within the block; yield the files by the URIs' labels.

    Whatever this process dies of, the files end with it, so nothing goes on writing to the volumes.
    Raises OperationFailedError where one cannot be mounted.
    """
    servers: list[tuple[Child, Path]] = []
    try:
        files = {}
        for number, (label, uri) in enumerate(uris.items()):
            mount = folder / f"disk{number}"
            mount.mkdir()
            servers.append((_serve(mount, uri, read_only), mount))
            files[label] = _wait_for(servers[-1][0], mount, label)
        yield files
    finally:
        for server, mount in reversed(servers):
            _unmount(mount)
            # It ends when everything is written.
            if server.wait(MOUNT_SECONDS) is None:
                server.kill()


def domain(vm: VirtualMachine, files: list[Path]) -> bytes:
    """Return the machine as libvirt describes one: what the tool has to know besides the disks."""
    root = ElementTree.Element("domain", type="kvm")
    _text(root, "name", vm.name)
    _text(root, "memory", str(vm.memory_mib), unit="MiB")
    _text(root, "vcpu", str(vm.cpus))
    system = ElementTree.SubElement(root, "os", {"firmware": "efi"} if vm.firmware == "efi" else {})
    _text(system, "type", "hvm", arch="x86_64")
    devices = ElementTree.SubElement(root, "devices")
    for number, file in enumerate(files):
        disk = ElementTree.SubElement(devices, "disk", type="file", device="disk")
        ElementTree.SubElement(disk, "driver", name="qemu", type="raw")
        ElementTree.SubElement(disk, "source", file=str(file))
        ElementTree.SubElement(disk, "target", dev=f"sd{chr(ord('a') + number)}", bus="scsi")
    for nic in vm.nics:
        card = ElementTree.SubElement(devices, "interface", type="network")
        ElementTree.SubElement(card, "source", network="default")
        ElementTree.SubElement(card, "mac", address=nic.mac)
    return ElementTree.tostring(root)


def convert(folder: Path, vm: VirtualMachine, files: list[Path], settings: Settings, step: Step) -> None:
    """Convert the guest on these disks, the first of which it boots from; what the tool says goes to the joblog.

    Raises OperationFailedError with the tool's last words where it fails, or takes longer than it may; CancelledError
    where somebody asks the job to stop meanwhile: the tool is ended, half-way.
    """
    description = folder / "domain.xml"
    description.write_bytes(domain(vm, files))
    command = [which(TOOL) or programs.find(TOOL, "virt-v2v"), "--root", "single", "-i", "libvirtxml", str(description)]
    log = folder / "tool.log"
    began = time.monotonic()
    with points.call(TOOL):
        process = childprocess.start(command, log=log, everything=True, env=environment(settings), dies_with_us=True)
        try:
            points.during(TOOL)
            code = _wait(process, settings.timeout, step.job)
        finally:
            process.stop(STOP_SECONDS)
    lines = [redact(line) for line in log.read_text(errors="replace").splitlines() if line.strip()]
    for line in lines[-MOST_LINES:]:
        step.log(EventKind.TOOL_OUTPUT, text=line, tool=TOOL)
    if code == 0:
        step.log(EventKind.GUEST_CONVERTED, seconds=round(time.monotonic() - began, 1))
        return
    failed = f"it ended with {code}" if code is not None else f"it was stopped after {settings.timeout:.0f} s"
    raise OperationFailedError(
        f"the guest of {vm.name} was not converted",
        f"{TOOL}: {failed}: {_last_words(lines)}",
        hint(
            "see all it said with: ",
            migratekit("jobs", "show"),
            "; mend that, then run again, or without conversion: --no-convert",
        ),
        code=ErrorCode.CONVERSION_FAILED,
        facts={"vm": vm.name},
    )


def _wait(process: Child, seconds: float, job: Job) -> int | None:
    """Return the tool's exit code; None where it takes longer. Raises CancelledError where the job is to stop."""
    asked = threading.Event()

    def stop() -> None:
        asked.set()
        process.ask_to_stop()

    with watched(job, stop):
        code = process.wait(seconds)
        if asked.is_set():
            raise KeyboardInterrupt
    return code


def _serve(mount: Path, uri: str, read_only: bool) -> Child:
    program = programs.find("nbdfuse", "libnbd-bin")
    command = [program, *(["--readonly"] if read_only else []), str(mount / "disk.img"), uri]
    # Ctrl-C is for us: we end the tool first, and then what it writes to.
    return childprocess.start(command, everything=True, dies_with_us=True)


def _wait_for(server: Child, mount: Path, label: str) -> Path:
    file, deadline = mount / "disk.img", time.monotonic() + MOUNT_SECONDS
    while not file.exists():
        if not server.running() or time.monotonic() > deadline:
            raise OperationFailedError(
                f"{label} cannot be mounted for the conversion",
                f"nbdfuse: {last_line(server.said(), 'it does not answer')}",
                "check that /dev/fuse is there and fuse3 is installed",
                code=ErrorCode.CONVERSION_IMPOSSIBLE,
            )
        time.sleep(0.05)
    return file


def _unmount(mount: Path) -> None:
    with contextlib.suppress(MigrateKitError):
        subprocess.run(
            [programs.find("fusermount3", "fuse3"), "-u", "-z", str(mount)],
            capture_output=True,
            timeout=MOUNT_SECONDS,
            check=False,
        )


def _last_words(lines: list[str]) -> str:
    errors = [line for line in lines if "error:" in line.lower()]
    return (errors or lines or ["it said nothing"])[-1].strip()


def _text(parent: ElementTree.Element, name: str, text: str, **attributes: str) -> None:
    ElementTree.SubElement(parent, name, attributes).text = text
