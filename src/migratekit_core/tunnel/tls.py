"""The VMA's end: an HAProxy in the background; its unix sockets lead to the OMA's services. Every command shares it."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.config.schema import Tunnel
from migratekit_core.errors import OperationFailedError, UsageError
from migratekit_core.joblog.process import running_pid, write_pid
from migratekit_core.redact import redact
from migratekit_core.tunnel import SERVICES
from migratekit_core.tunnel.haproxy import COMMON, program, write_config

LONGEST_SOCKET_PATH = 97
"""sun_path of unix(7) has 108 bytes with the final NUL, and HAProxy needs ten for the temporary name that it binds."""
START_SECONDS = 10.0
PROBE_SECONDS = 5.0


@dataclass(frozen=True)
class Status:
    """Whether the tunnel's local end runs, and where its sockets are."""

    up: bool
    pid: int | None
    sockets: dict[str, str]
    remote: str


def probe(tunnel: Tunnel) -> str:
    """Do a TLS handshake with the OMA; return why it fails, or "" where the OMA takes us."""
    try:
        context = ssl.create_default_context(cafile=str(tunnel.ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(str(tunnel.cert_file))
        with (
            socket.create_connection((tunnel.host, tunnel.port), PROBE_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=SERVICES[0]) as secured,
        ):
            # In TLS 1.3 the server's verdict on our certificate comes after our handshake is done.
            secured.settimeout(PROBE_SECONDS)
            secured.send(b"GET /health HTTP/1.1\r\nHost: volumes\r\nConnection: close\r\n\r\n")
            return "" if secured.recv(1) else "the OMA closed the connection (is the volume daemon up?)"
    except ssl.SSLCertVerificationError as error:
        return f"the OMA's certificate is not trusted: {error.verify_message}"
    except OSError as error:
        return redact(str(error) or type(error).__name__)


def runtime_dir(tunnel: Tunnel) -> Path:
    """Return the folder of the local ends."""
    if tunnel.runtime_dir is not None:
        return tunnel.runtime_dir
    if os.environ.get("XDG_RUNTIME_DIR"):
        return Path(os.environ["XDG_RUNTIME_DIR"]) / "migratekit"
    if os.geteuid() == 0:
        return Path("/run/migratekit")
    return Path(tempfile.gettempdir()) / f"migratekit-{os.geteuid()}"


def socket_path(tunnel: Tunnel, service: str) -> Path:
    """Return the unix socket that leads to a service of the OMA."""
    return runtime_dir(tunnel) / f"{service}.sock"


def render(tunnel: Tunnel) -> str:
    """Return HAProxy's configuration for the VMA."""
    lines = [COMMON]
    for service in SERVICES:
        lines += [
            f"listen {service}",
            f"    bind unix@{socket_path(tunnel, service)} mode 600",
            f"    server oma {tunnel.host}:{tunnel.port} ssl crt {tunnel.cert_file} ca-file {tunnel.ca_file}"
            f" verify required sni str({service}) verifyhost {service}",
            "",
        ]
    return "\n".join(lines)


def up(tunnel: Tunnel) -> Status:
    """Bring the local end up, or leave it be where it runs with the same settings; return its status.

    Raises UsageError for a runtime directory that cannot hold sockets, PreconditionError where HAProxy is missing or
    refuses the settings, OperationFailedError where it does not start.
    """
    folder = runtime_dir(tunnel)
    longest = max(len(os.fsencode(socket_path(tunnel, service))) for service in SERVICES)
    if longest > LONGEST_SOCKET_PATH:
        raise UsageError(
            "tunnel.runtime_dir is too long", f"a socket's path would have {longest} bytes", "choose a shorter one"
        )
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"tunnel.runtime_dir {folder} cannot be made", error.strerror or str(error), "choose another one"
        ) from error
    wanted = render(tunnel)
    with _lock(folder):
        config = folder / "tunnel.cfg"
        current = status(tunnel)
        if current.up and config.exists() and config.read_text() == wanted:
            return current
        # Checked first: a wrong setting must not take down a tunnel that others copy through.
        write_config(config, wanted)
        _stop(folder)
        with (folder / "tunnel.log").open("wb") as log:
            done = subprocess.run(
                [program(), "-D", "-f", str(config), "-p", str(folder / "tunnel.haproxy.pid")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=START_SECONDS,
                check=False,
            )
        if done.returncode == 0:
            pid = int((folder / "tunnel.haproxy.pid").read_text().split()[0])
            write_pid(folder / "tunnel.pid", pid)
            current = _await(tunnel)
        if not current.up:
            words = (folder / "tunnel.log").read_text(errors="replace").strip().splitlines() or ["HAProxy said nothing"]
            raise OperationFailedError("the tunnel did not come up", redact(words[-1]), "check the [tunnel] table")
        return current


def down(tunnel: Tunnel) -> bool:
    """Stop the local end; return whether it ran."""
    folder = runtime_dir(tunnel)
    if not folder.is_dir():
        return False
    with _lock(folder):
        return _stop(folder)


def status(tunnel: Tunnel) -> Status:
    """Return whether the local end runs and takes connections."""
    pid = running_pid(runtime_dir(tunnel) / "tunnel.pid")
    sockets = {service: str(socket_path(tunnel, service)) for service in SERVICES}
    answering = pid is not None and all(_accepts(path) for path in sockets.values())
    return Status(up=answering, pid=pid, sockets=sockets, remote=f"{tunnel.host}:{tunnel.port}")


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "tunnel.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _stop(folder: Path) -> bool:
    pid = running_pid(folder / "tunnel.pid")
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + START_SECONDS
        while running_pid(folder / "tunnel.pid") is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
    for name in ("tunnel.pid", "tunnel.haproxy.pid", *(f"{service}.sock" for service in SERVICES)):
        (folder / name).unlink(missing_ok=True)
    return pid is not None


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def _await(tunnel: Tunnel) -> Status:
    deadline = time.monotonic() + START_SECONDS
    while not (current := status(tunnel)).up and time.monotonic() < deadline:
        time.sleep(0.02)
    return current
