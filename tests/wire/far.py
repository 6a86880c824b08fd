"""An OMA on the other side of the link, with NBD exports and each kind of tunnel before them, for copies across."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.adapters.readers.reader import nbd_uri
from migratekit_core.adapters.tunnel import SERVICES, haproxy, kinds, local, pki
from migratekit_core.adapters.tunnel.server import render
from migratekit_core.config.folders import socket_path
from migratekit_core.config.schema import SshLogin, Tunnel, TunnelServer
from migratekit_core.engine.job import Done, Event, Job
from migratekit_core.engine.process import Engines, copy
from tests.lab.parts import sshd
from tests.lab.parts.process import answers, launch, wait_until
from tests.wire.namespaces import Wire, ip

TLS_PORT, SSH_PORT, NBD_PORT, PLAIN_PORT = 443, 2222, 10809, 10810
Areas = list[tuple[int, int]]


@dataclass(frozen=True)
class Far:
    """What was started; `target` is what nbdkit on the OMA writes to."""

    wire: Wire
    folder: Path
    tls: Tunnel
    ssh: Tunnel

    def copy(
        self,
        image: Path,
        kind: str,
        areas: Areas | None = None,
        *,
        observe: Callable[[Event], None] = lambda event: None,
        rate: int | None = None,
    ) -> Done:
        """Copy an image to the OMA by the product's engine; `kind` is `tls`, `ssh` or `none` (no tunnel at all)."""
        size = image.stat().st_size
        target, gate = f"nbd://{self.wire.address}:{PLAIN_PORT}", None
        tunnel = {"tls": self.tls, "ssh": self.ssh}.get(kind)
        if tunnel is not None:
            target, gate = nbd_uri(socket_path(tunnel, "nbd")), kinds.of(tunnel).gate(tunnel, "")
        with self.wire.vma(), _source(self.folder, image) as source:
            if tunnel is not None:
                local.up(tunnel)
            job = Job(f"{kind} disk", source, target, size, True, gate=gate, rate=rate)
            return copy(job, [(0, size)] if areas is None else areas, observe, Engines())


@contextmanager
def far(wire: Wire, folder: Path, *target: str, plain: bool = False) -> Iterator[Far]:
    """Start both kinds of tunnel on the OMA, before an nbdkit that writes to `target` (its plugin and settings).

    `plain` also has one without any tunnel listen on the link, to measure beside: nothing that a product may do.
    """
    pki.init(folder / "pki")
    files = {"ca_file": folder / "pki" / "ca.pem", "crl_file": folder / "pki" / "crl.pem"}
    services = dict.fromkeys(SERVICES, f"127.0.0.1:{NBD_PORT}")
    settings = TunnelServer(
        listen=f"{wire.address}:{TLS_PORT}", cert_file=folder / "pki" / "oma.pem",
        stats_socket=folder / "admin.sock", **files, **services,
    )  # fmt: skip
    config = folder / "oma.cfg"
    haproxy.write_config(config, render(settings))
    parts = []
    try:
        with wire.oma():
            parts.append(launch("nbdkit", ["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(NBD_PORT), *target], folder))
            wait_until(lambda: answers(NBD_PORT), parts[-1])
            if plain:
                command = ["nbdkit", "-f", "-i", wire.address, "-p", str(PLAIN_PORT), *target]
                parts.append(launch("nbdkit-plain", command, folder))
                wait_until(lambda: answers(PLAIN_PORT, wire.address), parts[-1])
            parts.append(launch("haproxy", ["haproxy", "-db", "-f", str(config)], folder))
            wait_until(lambda: answers(TLS_PORT, wire.address), parts[-1])
            running = sshd.start(folder / "sshd", SSH_PORT, services, address=wire.address, command="/bin/false")
            parts.append(running.part)
        login = SshLogin(user=running.user, host_key=running.host_key, key_file=running.key_file)
        made = Far(
            wire,
            folder,
            Tunnel(
                kind="tls", host=wire.address, port=TLS_PORT, cert_file=folder / "pki" / "vma.pem",
                runtime_dir=folder / "tls", **files,
            ),
            Tunnel(
                kind="ssh", host=wire.address, port=SSH_PORT, ssh=login, services=services,
                runtime_dir=folder / "ssh",
            ),
        )  # fmt: skip
        yield made
        for tunnel in (made.tls, made.ssh):
            local.down(tunnel)
    finally:
        for part in reversed(parts):
            part.stop()


@contextmanager
def _source(folder: Path, image: Path) -> Iterator[str]:
    path = folder / "source.sock"
    path.unlink(missing_ok=True)
    with subprocess.Popen(["nbdkit", "-f", "-r", "-U", str(path), "file", str(image)]) as process:
        try:
            while not path.exists():
                assert process.poll() is None, "nbdkit did not start"
                time.sleep(0.01)
            yield f"nbd+unix:///?socket={path}"
        finally:
            process.kill()


def established(name: str, ports: Iterable[int]) -> set[str]:
    """Return the TCP connections over the link, by these ports, that a namespace's kernel holds for alive."""
    wanted = {f":{port}" for port in ports}
    lines = ip("netns", "exec", name, "ss", "-Htn", "state", "established").splitlines()
    ends = [(line.split()[2], line.split()[3]) for line in lines]
    return {
        f"{one} {other}" for one, other in ends
        if one.startswith("192.0.2.") and any(end.endswith(port) for end in (one, other) for port in wanted)
    }  # fmt: skip
