"""Ways into a fleet for whoever is not of it, tried with Dask's own client and worker and by hand."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import httpx

from migratekit_core.adapters.tunnel import pki
from migratekit_core.config.load import load_config
from migratekit_core.services.fleet import dask
from tests.fleet.stage import Fleet

SECONDS = 4.0
REFUSED, LET_IN = "refused", "let in"


def all_of_them(made: Fleet, folder: Path) -> dict[str, str]:
    """Return what becomes of each way in."""
    settings = load_config(made.config, environ={}).fleet
    dask.load(settings)
    right = made.folder / "fleet-pki"
    other = folder / "other"
    pki.init(other)
    for role in ("client", "worker"):
        pki.issue(other, role, server=False, names=[], fleet=role)
    tunnel = right / "vma.pem"
    pki.issue(right, "lost", server=False, names=[], fleet="client")
    (folder / "lost.pem").write_bytes((right / "lost.pem").read_bytes())
    worker_port = int(_worker_address(made).rpartition(":")[2])
    found = {
        "plain": asyncio.run(_client(f"tcp://127.0.0.1:{made.port}", None)),
        "plain bytes": _plain(made.port),
        "no certificate": _tls(made.port, right / "ca.pem", None),
        "another CA": _tls(made.port, None, other / "client.pem"),
        "another CA, a worker": asyncio.run(_worker(made.port, other / "ca.pem", other / "worker.pem")),
        "the tunnel's": _tls(made.port, right / "ca.pem", tunnel),
        "the tunnel's, as a client": asyncio.run(_client(f"tls://127.0.0.1:{made.port}", _security(right, tunnel))),
        "TLS 1.2": _tls(made.port, right / "ca.pem", right / "client.pem", ssl.TLSVersion.TLSv1_2),
        "a worker's at a worker": _tls(worker_port, right / "ca.pem", right / "worker.pem"),
        "a client's at a worker": _tls(worker_port, right / "ca.pem", right / "client.pem"),
        "plain bytes at a worker": _plain(worker_port),
    }
    # A revoked one is refused by whoever starts after it: lists are read at the start.
    pki.revoke(right, "lost")
    made.scheduler.kill()
    made.wait_for_scheduler()
    found["revoked"] = _tls(made.port, right / "ca.pem", folder / "lost.pem")
    return found


def control(made: Fleet) -> str:
    """Return what becomes of a client that is of the fleet."""
    right = made.folder / "fleet-pki"
    by_hand = _tls(made.port, right / "ca.pem", right / "client.pem")
    by_dask = asyncio.run(_client(f"tls://127.0.0.1:{made.port}", _security(right, right / "client.pem")))
    return LET_IN if (by_hand, by_dask) == (LET_IN, LET_IN) else f"{by_hand}, {by_dask}"


def listening(pid: int) -> list[str]:
    """Return the addresses that a process listens on."""
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True, timeout=20).stdout
    return [line.split()[3] for line in shown.splitlines() if f"pid={pid}," in line]


def get(url: str) -> str:
    """Return what a page says."""
    return httpx.get(url, timeout=20, trust_env=False).raise_for_status().text


def _worker_address(made: Fleet) -> str:
    text = made.workers[0].log.read_text()
    return text.rpartition("called at tls://")[2].split()[0]


def _security(folder: Path, certificate: Path) -> Any:
    """Return Dask's own settings, as somebody without our rules would have them."""
    from distributed import Security

    files = {f"tls_{role}_cert": str(certificate) for role in ("client", "worker", "scheduler")}
    return Security(require_encryption=True, tls_ca_file=str(folder / "ca.pem"), **files)


async def _client(address: str, security: Any) -> str:
    from distributed import Client

    try:
        async with asyncio.timeout(SECONDS):
            async with Client(
                address, security=security, asynchronous=True, timeout=SECONDS / 2, name="stranger"
            ) as one:
                await one.submit(int, 1)
                return LET_IN
    except (OSError, TimeoutError, RuntimeError, ValueError, asyncio.CancelledError):
        return REFUSED


async def _worker(port: int, ca: Path, certificate: Path) -> str:
    from distributed import Worker

    security = _security(ca.parent, certificate)
    worker = Worker(
        f"tls://127.0.0.1:{port}", security=security, nthreads=1, dashboard_address="127.0.0.1:0", memory_limit=0
    )
    try:
        async with asyncio.timeout(SECONDS):
            await worker
            return LET_IN
    except (OSError, TimeoutError, RuntimeError, asyncio.CancelledError):
        return REFUSED
    finally:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(2):
                await worker.close()


def _tls(port: int, ca: Path | None, certificate: Path | None, highest: ssl.TLSVersion | None = None) -> str:
    """Do a handshake by hand, and see whether Dask's greeting comes."""
    trust = ssl.create_default_context(cafile=str(ca)) if ca else ssl.create_default_context()
    trust.check_hostname = False
    if ca is None:
        trust.verify_mode = ssl.CERT_NONE
    if highest is not None:
        trust.maximum_version = highest
    if certificate is not None:
        trust.load_cert_chain(str(certificate))
    try:
        with (
            socket.create_connection(("127.0.0.1", port), SECONDS) as plain,
            trust.wrap_socket(plain, server_hostname="fleet") as secured,
        ):
            secured.settimeout(SECONDS)
            return LET_IN if secured.recv(1) else REFUSED
    except (OSError, ssl.SSLError):
        return REFUSED


def _plain(port: int) -> str:
    """Say something without TLS, and see whether anything but a TLS alert comes back."""
    with socket.create_connection(("127.0.0.1", port), SECONDS) as plain:
        plain.settimeout(SECONDS)
        with contextlib.suppress(OSError):
            plain.sendall(b"\x00" * 64)
            answer = plain.recv(64)
            if answer and answer[0] != 0x15:
                return LET_IN
    return REFUSED
