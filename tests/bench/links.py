"""Rows over what lies between the hosts: the tunnel on one port, and latency."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.adapters.tunnel import SERVICES, Gate, pki
from migratekit_core.adapters.tunnel import local as local_end
from migratekit_core.config.schema import Tunnel
from migratekit_core.engine.job import Job
from tests.bench.images import random_image
from tests.bench.measure import GIB, Cpu, Pair, Row, engine, in_turn, nbdcopy, pair, server
from tests.lab.parts import oma
from tests.lab.parts.process import choose_port

SIZE = 2 * GIB


def tunnel(folder: Path) -> list[Row]:
    """2 GiB of random data through the tunnel, beside nbdcopy through the same one, and nbdcopy with NBD's own TLS."""
    image = random_image(folder, SIZE)
    pki.init(folder / "pki")
    pki.issue(folder / "pki", "localhost", server=True, names=["127.0.0.1"])
    with (
        pair(folder, image, SIZE) as ends,
        _tunnel(folder, ends) as (gate, local, oma_pid, vma_pid),
        _own_tls(folder) as (own, own_pid),
    ):
        job = Job("tunnel", ends.source, local, SIZE, full=True, gate=gate)
        here, there = (ends.source_pid, vma_pid), (oma_pid, ends.target_pid)
        through = in_turn(
            _counted(mine := [], here, there, lambda: engine(job, [(0, SIZE)])[0]),
            _counted(relayed := [], here, there, lambda: nbdcopy(ends.source, local)),
        )
        direct = in_turn(
            lambda: engine(job, [(0, SIZE)])[0],
            _counted(libnbd := [], (ends.source_pid,), (own_pid,), lambda: nbdcopy(ends.source, own)),
        )
    what = "2 GiB random through port 443's TLS 1.3"
    return [
        Row("tunnel", what, "nbdcopy through the same tunnel", *through, SIZE, ">= 1.0", _cpu(mine, relayed)),
        Row("tunnel_nbds", what, "nbdcopy, NBD's own TLS", *direct, SIZE, "aim 0.9", _cpu(mine, libnbd)),
    ]


def latency(folder: Path) -> list[Row]:
    """2 GiB of random data to a target that answers each write after 20 or 50 ms."""
    image = random_image(folder, SIZE)
    rows = []
    for delay in (20, 50):
        with pair(folder, image, SIZE, target=["delay", f"wdelay={delay}ms"]) as ends:
            job = Job("far", ends.source, ends.target, SIZE, full=True)
            ours, theirs = in_turn(
                lambda job=job: engine(job, [(0, SIZE)])[0],  # type: ignore[misc]
                lambda ends=ends: nbdcopy(ends.source, ends.target),  # type: ignore[misc]
            )
        what = f"2 GiB random, writes answered after {delay} ms"
        rows.append(Row(f"latency_{delay}", what, "nbdcopy", ours, theirs, SIZE, ">= 3"))
    return rows


Sides = tuple[float, float]
"""CPU seconds of what runs on the VMA, and on the OMA."""


def _counted(
    found: list[Sides], here: tuple[int, ...], there: tuple[int, ...], copy: Callable[[], float]
) -> Callable[[], float]:
    """Return `copy`, which also appends to `found` what it used."""

    def counted() -> float:
        cpu = Cpu([*here, *there])
        seconds = copy()
        used = cpu.used()
        found.append((sum(used[: 1 + len(here)]), sum(used[1 + len(here) :])))
        return seconds

    return counted


def _cpu(mine: list[Sides], peers: list[Sides]) -> dict[str, float]:
    gib = SIZE / GIB
    return {
        f"{whose}_cpu_seconds_per_gib_{side}": round(statistics.median(sides[index] for sides in used) / gib, 3)
        for whose, used in (("ours", mine), ("peer", peers))
        for index, side in enumerate(("vma", "oma"))
    }


@contextmanager
def _tunnel(folder: Path, ends: Pair) -> Iterator[tuple[Gate, str, int, int]]:
    """Run both ends of the tunnel; yield the engine's gate, the URI through the local end, and both process ids."""
    certificates, port = folder / "pki", choose_port(None)
    part = oma.start_tunnel(folder, port, certificates, dict.fromkeys(SERVICES, ends.port))
    files = {"ca_file": certificates / "ca.pem", "cert_file": certificates / "vma.pem"}
    settings = Tunnel(kind="tls", host="127.0.0.1", port=port, runtime_dir=folder / "vma", **files)
    try:
        status = local_end.up(settings)
        assert status.pid is not None, "it is up"
        gate = Gate("127.0.0.1", port, "nbd", str(files["ca_file"]), str(files["cert_file"]), "")
        yield gate, f"nbd+unix:///?socket={status.sockets['nbd']}", part.process.pid, status.pid
    finally:
        local_end.down(settings)
        part.stop()


@contextmanager
def _own_tls(folder: Path) -> Iterator[tuple[str, int]]:
    """Run nbdkit with NBD's own TLS, certificates on both sides; yield its URI and process id."""
    for name, role in (("localhost", "server"), ("vma", "client")):
        pem = (folder / "pki" / f"{name}.pem").read_text()
        certificates = folder / role
        certificates.mkdir()
        shutil.copy(folder / "pki" / "ca.pem", certificates / "ca-cert.pem")
        key = pem.index("-----BEGIN PRIVATE KEY")
        (certificates / f"{role}-cert.pem").write_text(pem[:key])
        (certificates / f"{role}-key.pem").write_text(pem[key:])
    port = choose_port(None)
    options = ("--tls=require", f"--tls-certificates={folder / 'server'}", "--tls-verify-peer")
    with server(
        "nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), *options, "memory", str(SIZE), port=port
    ) as process:
        yield f"nbds://localhost:{port}/?tls-certificates={folder / 'client'}", process.pid
