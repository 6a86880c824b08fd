"""The engine's own TLS connections to the OMA's port: what reaches the target, and what every way of failing says."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.adapters.tunnel import SERVICES, Gate, haproxy, pki, server
from migratekit_core.common.errors import OperationFailedError, UnreachableError
from migratekit_core.config.schema import TunnelServer
from migratekit_core.engine.job import Event, Job, Progress
from migratekit_core.engine.process import Engines, copy
from tests.integration import servers
from tests.integration.servers import MIB, SIZE, Server, same
from tests.lab.parts.process import choose_port

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")


class Oma:
    """The one port of an OMA with its NBD exports behind it, and a VMA's certificate for it."""

    def __init__(self, folder: Path, *filters: str) -> None:
        pki.init(folder / "pki")
        (folder / "exports").mkdir()
        self.image = folder / "exports" / "migration-web01"
        port, self.nbd_port = choose_port(None), choose_port(None)
        self.gate = Gate(
            "localhost", port, "nbd", str(folder / "pki" / "ca.pem"), str(folder / "pki" / "vma.pem"), self.image.name
        )
        names = [f"--filter={item}" for item in filters if "=" not in item]
        options = [item for item in filters if "=" in item]
        self.exporter = Server(
            self.nbd_port,
            *("nbdkit", "-f", "-i", "127.0.0.1", "-p", str(self.nbd_port), *names),
            *("file", f"dir={self.image.parent}", *options),
        )
        config = folder / "oma.cfg"
        files = {"cert_file": folder / "pki" / "oma.pem", "ca_file": folder / "pki" / "ca.pem"}
        services = dict.fromkeys(SERVICES, f"127.0.0.1:{self.nbd_port}")
        admin = {"stats_socket": folder / "admin.sock"}
        settings = TunnelServer(listen=f"127.0.0.1:{port}", **files, **admin, **services)
        haproxy.write_config(config, server.render(settings))
        self.tunnel = Server(port, "haproxy", "-db", "-f", str(config))
        self.target = f"nbd://127.0.0.1:{self.nbd_port}/{self.image.name}"

    def job(self, source: str, *, full: bool, **more: int | None) -> Job:
        return Job("test disk", source, self.target, SIZE, full, gate=self.gate, **more)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[str]:
    servers.disk(tmp_path / "source.img")
    with servers.source(tmp_path) as uri:
        yield uri


def expected(tmp_path: Path, size: int) -> Path:
    """Return an image of the source disk with zeros up to the target's end."""
    image = tmp_path / "expected.img"
    image.write_bytes((tmp_path / "source.img").read_bytes().ljust(size, b"\0"))
    return image


@pytest.mark.parametrize("filters", [[], ["nozero"], ["multi-conn", "multi-conn-mode=disable"]], ids=str)
def test_a_full_copy(tmp_path: Path, source: str, filters: list[str], carriers: int) -> None:
    oma = Oma(tmp_path, *filters)
    servers.dirty(oma.image)
    with oma.exporter, oma.tunnel:
        copy(oma.job(source, full=True, carriers=carriers), [(0, SIZE)], lambda event: None, Engines())
    same(oma.image, expected(tmp_path, servers.ROOM))


def test_an_incremental_copy_touches_nothing_else(tmp_path: Path, source: str, carriers: int) -> None:
    oma = Oma(tmp_path)
    servers.dirty(oma.image)
    before, disk = oma.image.read_bytes(), (tmp_path / "source.img").read_bytes()
    areas = [(0, 512), (3 * MIB + 7 * 512, 2 * MIB), (SIZE - 512, 512)]
    with oma.exporter, oma.tunnel:
        done = copy(oma.job(source, full=False, carriers=carriers), areas, lambda event: None, Engines())
    wanted = bytearray(before)
    for offset, length in areas:
        wanted[offset : offset + length] = disk[offset : offset + length]
    assert oma.image.read_bytes() == wanted
    assert done.total == sum(length for _, length in areas)


def test_the_data_take_no_other_way(tmp_path: Path, source: str) -> None:
    """A target URI that answers questions, and a gate that is closed: nothing is copied."""
    oma = Oma(tmp_path)
    servers.dirty(oma.image)
    before = oma.image.read_bytes()
    with oma.exporter, pytest.raises(UnreachableError) as raised:
        copy(oma.job(source, full=True)._replace(patience=0.3), [(0, SIZE)], lambda event: None, Engines())
    assert "refused" in raised.value.why
    assert oma.image.read_bytes() == before


def test_a_foreign_ca_is_refused_and_named(tmp_path: Path, source: str) -> None:
    oma = Oma(tmp_path)
    servers.dirty(oma.image)
    pki.init(tmp_path / "other")
    job = oma.job(source, full=True)
    job = job._replace(gate=oma.gate._replace(ca_file=str(tmp_path / "other" / "ca.pem")))
    with oma.exporter, oma.tunnel, pytest.raises(UnreachableError) as raised:
        copy(job, [(0, SIZE)], lambda event: None, Engines())
    assert "certificate" in raised.value.why


def test_an_export_that_is_not_there_is_named_as_refused(tmp_path: Path, source: str) -> None:
    oma = Oma(tmp_path)
    servers.dirty(oma.image)
    job = oma.job(source, full=True)._replace(gate=oma.gate._replace(export="migration-other"))
    with oma.exporter, oma.tunnel, pytest.raises(UnreachableError) as raised:
        copy(job, [(0, SIZE)], lambda event: None, Engines())
    assert "refused" in raised.value.why


def test_a_write_error_says_where(tmp_path: Path, source: str, carriers: int) -> None:
    oma = Oma(tmp_path, "error", "error-pwrite=EIO", "error-pwrite-rate=1")
    servers.dirty(oma.image)
    with oma.exporter, oma.tunnel, pytest.raises(OperationFailedError) as raised:
        copy(oma.job(source, full=True, carriers=carriers), [(0, SIZE)], lambda event: None, Engines())
    assert "at offset" in raised.value.what
    assert "EIO" in raised.value.why


def test_a_tunnel_that_dies_and_comes_back_only_delays(tmp_path: Path, carriers: int) -> None:
    image = tmp_path / "source.img"
    image.write_bytes(random.Random(5).randbytes(SIZE))
    oma = Oma(tmp_path)
    servers.dirty(oma.image, SIZE)
    killed: list[int] = []
    with servers.source(tmp_path) as uri, oma.exporter, oma.tunnel:

        def observe(event: Event) -> None:
            if isinstance(event, Progress) and not killed:
                killed.append(event.done)
                oma.tunnel.kill()
                time.sleep(1)
                oma.tunnel.start()

        done = copy(oma.job(uri, full=True, rate=12 * MIB, carriers=carriers), [(0, SIZE)], observe, Engines())
    assert 0 < killed[0] < SIZE, "killed in the middle"
    assert done.retries > 0
    same(oma.image, image)
