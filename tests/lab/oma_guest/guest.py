"""The guest, running: commands in it by its agent, disks plugged in and out by QMP, as libvirt does for CloudStack."""

from __future__ import annotations

import itertools
import json
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.lab.oma_guest.image import OWN_DATA, OWN_ROOT, Images, serial

BOOT_SECONDS, COMMAND_SECONDS, PLUG_SECONDS = 600.0, 900.0, 60.0


class GuestError(Exception):
    """The guest, or a command in it, did not do what it should."""


@dataclass
class Guest:
    """A guest: its disks are overlays in a folder of its own."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None
    monitor: Lines | None = None
    agent: Lines | None = None
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    plugged: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    """What was plugged in, and is there at the next start as well: how qemu calls image and disk."""

    @property
    def console(self) -> Path:
        """Return the file with all that it wrote to its serial console."""
        return self.folder / "console.log"

    def run(self, command: str, *, check: bool = True, seconds: float = COMMAND_SECONDS) -> str:
        """Return what a command of bash wrote, both outputs. Raises GuestError where it failed, unless not `check`."""
        code, said = self.ask(command, seconds)
        if check and code != 0:
            raise GuestError(f"{command}: exit {code}\n{said}")
        return said

    def ask(self, command: str, seconds: float = COMMAND_SECONDS) -> tuple[int, str]:
        """Return the exit code and what a command wrote."""
        assert self.agent is not None, "it runs"
        number = next(self.numbers)
        self.agent.send({"id": number, "command": command})
        while True:
            answer = self.agent.receive(seconds)
            if answer.get("id") == number:
                return int(answer["code"]), str(answer["said"])

    def write(self, path: str, text: str, mode: str = "0644") -> None:
        """Write a file in the guest."""
        self.run(f"install -D -m {mode} /dev/stdin {shlex.quote(path)} <<< {shlex.quote(text.rstrip(chr(10)))}")

    def start(self, boot_seconds: float = BOOT_SECONDS) -> None:
        """Boot it from its own disk, with the disks that are plugged in; return when its agent answers."""
        with suppress(FileNotFoundError):
            self.console.unlink()
        command = [
            *("setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-machine", "pc", "-accel", "tcg,thread=multi"),
            *("-smp", "2", "-m", "1536", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-serial", f"file:{self.console}", "-device", "virtio-scsi-pci,id=scsi,addr=0x4"),
            *("-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,addr=0x3"),
            *("-qmp", f"unix:{self.folder / 'qmp'},server=on,wait=off"),
            *("-device", "virtio-serial-pci,addr=0x5"),
            *("-chardev", f"socket,id=agent,path={self.folder / 'agent'},server=on,wait=off"),
            *("-device", "virtserialport,chardev=agent,name=lab.agent"),
            *self._own("root", OWN_ROOT, "virtio-blk-pci,bootindex=0,addr=0x6"),
            *self._own("data", OWN_DATA, "scsi-hd,bus=scsi.0"),
        ]
        for node, device in self.plugged.values():
            command += ["-blockdev", json.dumps(node), "-device", json.dumps(device)]
        with (self.folder / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.monitor = Lines.connect(self.folder / "qmp", 20)
        self.monitor.receive(20)
        self._qmp("qmp_capabilities")
        self.agent = Lines.connect(self.folder / "agent", 20)
        deadline = time.monotonic() + boot_seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(TimeoutError):
                self.ask("true", 5)
                self.run("systemctl is-system-running --wait || true")
                return
        raise GuestError(f"the guest did not come up:\n{self.console.read_text(errors='replace')[-3000:]}")

    def _own(self, name: str, volume_id: str, device: str) -> list[str]:
        drive = f"file={self.folder / name}.qcow2,format=qcow2,if=none,id=own-{name},cache=unsafe"
        return ["-drive", drive, "-device", f"{device},drive=own-{name},serial={serial(volume_id)}"]

    def stop(self) -> None:
        """Shut it down in an orderly way."""
        assert self.process is not None
        with suppress(OSError, GuestError):
            self.run("systemctl --no-block poweroff")
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._close()

    def kill(self) -> None:
        """Pull its plug, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self._close()

    def _close(self) -> None:
        for lines in (self.monitor, self.agent):
            if lines is not None:
                lines.close()
        self.process = self.monitor = self.agent = None

    def copy(self, image: Path) -> Path:
        """Return a copy of an image that only this guest writes to."""
        path = self.folder / image.name
        if not path.exists():
            subprocess.run(["cp", "--sparse=always", str(image), str(path)], check=True)
        return path

    def plug(self, name: str, image: Path, volume_id: str, *, bus: str = "blk", share: bool = False) -> None:
        """Plug in a disk as attachVolume does, and return when Linux has it; see `insert`."""
        before = self.disks()
        self.insert(name, image, volume_id, bus=bus, share=share)
        deadline = time.monotonic() + PLUG_SECONDS
        while self.disks() == before:
            if time.monotonic() > deadline:
                raise GuestError(f"Linux does not see {name}")
            time.sleep(0.2)
        self.settle()

    def insert(self, name: str, image: Path, volume_id: str, *, bus: str = "blk", share: bool = False) -> None:
        """Plug in a disk by virtio-blk or virtio-scsi (`blk`, `scsi`), without a word with the guest.

        `share`: the file is open elsewhere as well, as the second path to one disk is.
        """
        node = {
            "driver": "raw",
            "node-name": f"node-{name}",
            "file": {"driver": "file", "filename": str(image), "locking": "off" if share else "auto"},
        }
        self._qmp("blockdev-add", **node)
        driver = {"blk": {"driver": "virtio-blk-pci"}, "scsi": {"driver": "scsi-hd", "bus": "scsi.0"}}[bus]
        device = {**driver, "id": f"disk-{name}", "drive": f"node-{name}", "serial": serial(volume_id)}
        if share:
            device["share-rw"] = True
        self._qmp("device_add", **device)
        self.plugged[name] = (node, device)

    def unplug(self, name: str) -> None:
        """Take a disk out, as detachVolume does; return when it is gone."""
        del self.plugged[name]
        self._qmp("device_del", id=f"disk-{name}")
        self._event("DEVICE_DELETED", f"disk-{name}")
        self._qmp("blockdev-del", **{"node-name": f"node-{name}"})

    def settle(self) -> None:
        """Wait until udev, and the units that it starts, have done what they do for a new disk."""
        settled = "udevadm settle --timeout=120"
        self.run(f"{settled}; sleep 2; {settled}; systemctl is-system-running --wait || true")

    def disks(self) -> set[str]:
        """Return the kernel's names of all disks."""
        return set(self.run("ls /sys/block").split())

    def _qmp(self, command: str, **arguments: Any) -> dict[str, Any]:
        assert self.monitor is not None, "it runs"
        self.monitor.send({"execute": command, "arguments": arguments})
        while True:
            answer = self.monitor.receive(60)
            if "error" in answer:
                raise GuestError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer
            self.monitor.events.append(answer)

    def _event(self, name: str, device: str) -> None:
        assert self.monitor is not None, "it runs"
        while True:
            for event in self.monitor.events:
                if event.get("event") == name and event.get("data", {}).get("device") == device:
                    self.monitor.events.remove(event)
                    return
            self.monitor.events.append(self.monitor.receive(PLUG_SECONDS))


class Lines:
    """A socket of lines of JSON."""

    def __init__(self, end: socket.socket) -> None:
        self._end, self._held = end, b""
        self.events: list[dict[str, Any]] = []

    @classmethod
    def connect(cls, path: Path, seconds: float) -> Lines:
        """Connect when somebody listens at a path. Raises GuestError where nobody does."""
        deadline = time.monotonic() + seconds
        while True:
            end = socket.socket(socket.AF_UNIX)
            try:
                end.connect(str(path))
            except OSError as error:
                end.close()
                if time.monotonic() > deadline:
                    raise GuestError(f"{path}: {error}") from None
                time.sleep(0.1)
            else:
                return cls(end)

    def send(self, data: dict[str, Any]) -> None:
        """Send a line."""
        self._end.settimeout(60)
        self._end.sendall(json.dumps(data).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any]:
        """Return the next line. Raises TimeoutError where none comes, GuestError where the other end is gone."""
        self._end.settimeout(seconds)
        while b"\n" not in self._held:
            data = self._end.recv(1 << 20)
            if not data:
                raise GuestError("qemu ended")
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """Close the socket."""
        self._end.close()


@contextmanager
def running(folder: Path, images: Images) -> Iterator[Guest]:
    """Yield a guest that is up, whose changes are its own; pull its plug in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in (("root", images.root), ("data", images.data)):
        kind = "qcow2" if image.suffix == ".qcow2" else "raw"
        command = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", kind, "-b", str(image.absolute())]
        subprocess.run([*command, f"{folder / name}.qcow2"], check=True)
    guest = Guest(folder)
    try:
        guest.start()
        yield guest
    finally:
        guest.kill()
