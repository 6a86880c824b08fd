"""Machines that boot for real: qemu, without KVM, on the very files of a machine's volumes.

Only machines that a test asked for boot (`POST /lab/boot`), so that all others stay quick. What a guest writes to its
serial console is in a file; its screen can be photographed. A qemu never outlives this process, however that ends.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import catalogue, files
from .errors import runtime
from .model import Vm, Volume

MEMORY = 128
"""MiB that a guest gets at most; the lab's Linux needs 64."""
STOP_SECONDS = 10.0


@dataclass(frozen=True)
class Wanted:
    """Which machines boot, by how their name begins, and the ports at which they are reached."""

    names: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True)
class Guest:
    """A machine that was booted."""

    process: subprocess.Popen[bytes]
    console: Path
    monitor: socket.socket


@dataclass
class Guests:
    """All that were booted, by the id of their machine."""

    wanted: Wanted = Wanted()
    running: dict[str, Guest] = field(default_factory=dict)
    # The kernel ends a qemu together with the thread that started it, and a job's thread does not last.
    starter: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "guests"))

    def boots(self, vm: Vm) -> bool:
        """Return whether a machine boots for real."""
        return vm.name.startswith(self.wanted.names) if self.wanted.names else False

    def start(self, state: Path, vm: Vm, volumes: list[Volume]) -> Guest:
        """Boot a machine. Raises ApiError where its qemu does not start."""
        return self.starter.submit(self._start, state, vm, volumes).result()

    def _start(self, state: Path, vm: Vm, volumes: list[Volume]) -> Guest:
        console = state / "consoles" / f"{vm.name}.log"
        console.parent.mkdir(exist_ok=True)
        console.write_bytes(b"")
        ours, theirs = socket.socketpair()
        command = _command(vm, volumes, state, console, theirs.fileno(), self.wanted.ports)
        with theirs, (state / "consoles" / f"{vm.name}.qemu.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs.fileno()]
            )
        guest = Guest(process, console, ours)
        try:
            ours.settimeout(STOP_SECONDS)
            _ask(guest, "qmp_capabilities")
        except (OSError, ValueError):
            process.kill()
            process.wait()
            words = Path(log.name).read_text(errors="replace").strip().splitlines()[-1:]
            raise runtime(f"Unable to start {vm.instancename}: {' '.join(words) or 'qemu ended'}") from None
        self.running[vm.id] = guest
        return guest

    def stop(self, vm_id: str) -> None:
        """Pull the plug of a machine, if it was booted."""
        guest = self.running.pop(vm_id, None)
        if guest is None:
            return
        guest.process.terminate()
        try:
            guest.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            guest.process.kill()
            guest.process.wait()
        guest.monitor.close()

    def screen(self, vm_id: str, target: Path) -> None:
        """Write what a machine's screen shows to a PNG file."""
        answer = _ask(self.running[vm_id], "screendump", filename=str(target), format="png")
        if "error" in answer:
            raise ValueError(answer["error"]["desc"])


def _command(
    vm: Vm, volumes: list[Volume], state: Path, console: Path, monitor: int, ports: tuple[int, ...]
) -> list[str]:
    programs = {name: shutil.which(name) for name in ("setpriv", "qemu-system-x86_64")}
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        raise runtime(f"The lab cannot boot {vm.name}: {', '.join(missing)} is not installed.")
    if "UEFI" in vm.details:
        raise runtime(f"The lab boots no UEFI machines, and {vm.name} is one.")
    command = [
        *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-machine", "pc,accel=tcg", "-nodefaults"),
        *("-name", vm.instancename, "-m", str(min(vm.memory, MEMORY)), "-display", "none", "-vga", "std"),
        *("-chardev", f"socket,id=qmp,fd={monitor}", "-mon", "chardev=qmp,mode=control"),
        *("-serial", f"file:{console}", "-device", "virtio-scsi-pci,id=scsi"),
    ]
    for volume in volumes:
        path, serial, name = files.volume_path(state, volume.id), files.serial(volume.id), f"disk{volume.deviceid}"
        first = ",bootindex=0" if volume.type == "ROOT" else ""
        command += [
            *("-drive", f"file={path},format=raw,if=none,id={name},discard=unmap"),
            *("-device", f"{_controller(vm, volume)},drive={name},serial={serial}{first}"),
        ]
    adapter = {key.lower(): value for key, value in vm.details.items()}.get("nicadapter", "virtio").lower()
    card = {"e1000": "e1000", "rtl8139": "rtl8139"}.get(adapter, "virtio-net-pci")
    for nic in vm.nics:
        forwards = "".join(_forward(nic.networkid, nic.ipaddress, port) for port in ports)
        command += [
            *("-netdev", f"user,id=net{nic.deviceid},restrict=on{forwards}"),
            *("-device", f"{card},netdev=net{nic.deviceid},mac={nic.macaddress},romfile="),
        ]
    return command


def _controller(vm: Vm, volume: Volume) -> str:
    details = {key.lower(): value.lower() for key, value in vm.details.items()}
    root = details.get("rootdiskcontroller", "virtio")
    wished = root if volume.type == "ROOT" else details.get("datadiskcontroller", root)
    return {"ide": "ide-hd", "sata": "ide-hd", "scsi": "scsi-hd,bus=scsi.0"}.get(wished, "virtio-blk-pci")


def _forward(network_id: str, address: str, port: int) -> str:
    """Only addresses of a loopback network can be reached here: they stand for the guest's, as in a static NAT."""
    on_loopback = catalogue.row("network", network_id)["cidr"].startswith("127.")
    return f",hostfwd=tcp:{address}:{port}-:{port}" if on_loopback else ""


def _ask(guest: Guest, command: str, **arguments: Any) -> dict[str, Any]:
    """Send a command to the monitor and return its answer; what comes by itself (greeting, events) is passed over."""
    guest.monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
    # Unbuffered: nothing that comes after the answer may be swallowed.
    with guest.monitor.makefile("rb", buffering=0) as lines:
        while True:
            answer: dict[str, Any] = json.loads(lines.readline())
            if "return" in answer or "error" in answer:
                return answer
