"""Two network namespaces, the VMA's and the OMA's, joined by a pair of veth devices and by nothing else.

A thread enters a namespace for a block; sockets and processes made inside stay there. Needs root.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
VMA_ADDRESS, OMA_ADDRESS = "192.0.2.1", "192.0.2.2"
"""Of a block that is for documentation (RFC 5737); nothing leads out of the two namespaces."""
VMA_DEVICE, OMA_DEVICE = "wan-vma", "wan-oma"
_libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments: str) -> str:
    """Run iproute2's ip, and return what it prints."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Have this thread be in a namespace as long as the block runs."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        try:
            yield
        finally:
            _enter(here)
    finally:
        os.close(here)
        os.close(there)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@dataclass(frozen=True)
class Wire:
    """The two namespaces; see tests.lab.lab.Sides for what the lab does with them."""

    vma_name: str
    oma_name: str
    address: str = OMA_ADDRESS

    def vma(self) -> AbstractContextManager[None]:
        """Be on the VMA."""
        return inside(self.vma_name)

    def oma(self) -> AbstractContextManager[None]:
        """Be on the OMA."""
        return inside(self.oma_name)

    def bytes_sent(self) -> int:
        """Return how many bytes the VMA has sent since `limit`, with all headers down to Ethernet's.

        It is the queue that counts them: the device does not, of a packet that the kernel only cuts up behind it.
        """
        command = ["tc", "-n", self.vma_name, "-j", "-s", "qdisc", "show", "dev", VMA_DEVICE, "root"]
        shown = json.loads(subprocess.run(command, check=True, timeout=20, capture_output=True, text=True).stdout)
        return int(shown[0]["bytes"])

    def cut(self) -> None:
        """Have every packet disappear on its way, in both directions; nobody is told, and the devices stay up."""
        nowhere = "02:00:00:00:00:99"
        ip(
            "-n",
            self.vma_name,
            "neigh",
            "replace",
            OMA_ADDRESS,
            "lladdr",
            nowhere,
            "dev",
            VMA_DEVICE,
            "nud",
            "permanent",
        )
        ip(
            "-n",
            self.oma_name,
            "neigh",
            "replace",
            VMA_ADDRESS,
            "lladdr",
            nowhere,
            "dev",
            OMA_DEVICE,
            "nud",
            "permanent",
        )

    def mend(self) -> None:
        """Have packets arrive again."""
        ip("-n", self.vma_name, "neigh", "flush", "dev", VMA_DEVICE, "nud", "permanent")
        ip("-n", self.oma_name, "neigh", "flush", "dev", OMA_DEVICE, "nud", "permanent")

    def limit(self, rate: str, burst: str) -> None:
        """Have the VMA send no faster than `rate` (tc's notation), by a token bucket of `burst` bytes."""
        shape = ["rate", rate, "burst", burst, "latency", "50ms"]
        device = ["dev", VMA_DEVICE, "root"]
        subprocess.run(["tc", "-n", self.vma_name, "qdisc", "replace", *device, "tbf", *shape], check=True, timeout=20)

    def delay(self, milliseconds: int) -> bool:
        """Have each packet of the OMA take so long; return whether this kernel can do that (netem)."""
        device = ["dev", OMA_DEVICE, "root"]
        command = ["tc", "-n", self.oma_name, "qdisc", "replace", *device, "netem", "delay", f"{milliseconds}ms"]
        command += ["limit", "100000"]
        return subprocess.run(command, timeout=20, capture_output=True, check=False).returncode == 0


@contextmanager
def wire() -> Iterator[Wire]:
    """Make the two namespaces, and take them away at the end."""
    mark = f"mk{os.getpid()}-{threading.get_ident() % 10000}"
    made = Wire(f"{mark}-vma", f"{mark}-oma")
    names = (made.vma_name, made.oma_name)
    try:
        for name in names:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        # Made inside, so that its name never meets one of this machine's own devices.
        ip(
            "-n",
            made.vma_name,
            "link",
            "add",
            VMA_DEVICE,
            "type",
            "veth",
            "peer",
            "name",
            OMA_DEVICE,
            "netns",
            made.oma_name,
        )
        for name, device, address in zip(names, (VMA_DEVICE, OMA_DEVICE), (VMA_ADDRESS, OMA_ADDRESS), strict=True):
            ip("-n", name, "addr", "add", f"{address}/30", "dev", device)
            ip("-n", name, "link", "set", device, "up")
        yield made
    finally:
        for name in names:
            with contextlib.suppress(AssertionError):
                ip("netns", "del", name)


class Relay:
    """Has a port of one side's loopback lead to the same port of the other's: a third host that both reach.

    CloudStack's API is neither on the VMA nor on the OMA, and not behind the tunnel.
    """

    def __init__(self, here: AbstractContextManager[None], there: str, port: int) -> None:
        self._there = there
        self._port = port
        with here:
            self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        # Closing alone would leave the thread in its accept.
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                with inside(self._there):
                    server = socket.create_connection(("127.0.0.1", self._port))
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_pump, args=(one, other), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def listeners(name: str) -> list[str]:
    """Return the addresses of a namespace that TCP sockets listen on."""
    shown = ip("netns", "exec", name, "ss", "-Hltn")
    return sorted({line.split()[3] for line in shown.splitlines()})


def devices(name: str) -> list[str]:
    """Return a namespace's devices."""
    return sorted(
        Path(line.split(":")[1].split("@")[0].strip()).name for line in ip("-n", name, "-o", "link").splitlines()
    )
