"""The one port that faces the network: idle strangers, certificates that end while a connection is open, resumption."""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from migratekit_core.adapters.tunnel import pki, watch
from migratekit_core.config.schema import TunnelServer
from tests.integration.support import eventually
from tests.tunnels import Service, addresses, oma, running_services

DAY = 86400.0


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The OMA's CA, and three VMAs: one whose certificate stays, one to be revoked, one that ends in ten minutes."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        made = Path(name) / "a"
        pki.init(made)
        pki.issue(made, "gone", server=False, names=[])
        pki.issue(made, "brief", server=False, names=[], days=600 / DAY)
        yield Path(name)


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Service]]:
    with running_services() as made:
        yield made


def context(folder: Path, name: str = "vma") -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(folder / "a" / "ca.pem"))
    made.load_cert_chain(folder / "a" / f"{name}.pem")
    return made


def connected(
    folder: Path, port: int, name: str = "vma", *, service: str = "db", session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    """Connect as a VMA does, and prove that the service answers."""
    plain = socket.create_connection(("127.0.0.1", port), 30)
    return context(folder, name).wrap_socket(plain, server_hostname=service, session=session)


def answered(client: ssl.SSLSocket) -> bytes:
    client.settimeout(30)
    client.sendall(b"x")
    return client.recv(100)


def ended(client: socket.socket) -> bool:
    """Return whether the other end has closed a connection that has nothing to say."""
    client.settimeout(0.5)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def strangers(port: int, count: int) -> list[socket.socket]:
    found = []
    for _ in range(count):
        one = socket.socket()
        one.setblocking(False)
        one.connect_ex(("127.0.0.1", port))
        found.append(one)
    return found


def settings(folder: Path, port: int) -> TunnelServer:
    made = folder / "a"
    return TunnelServer(
        cert_file=made / "oma.pem", ca_file=made / "ca.pem", crl_file=made / "crl.pem",
        stats_socket=folder / f"oma-{port}.sock",
    )  # fmt: skip


def test_idle_strangers_shut_nobody_out(folder: Path, services: dict[str, Service]) -> None:
    with oma(folder, folder / "a" / "oma.pem", addresses(services), more={"max_connections": 20}) as port:
        idle = strangers(port, 40)
        try:
            # They hold all the room there is until their time is over, and no longer.
            with connected(folder, port) as client:
                assert answered(client) == b"db:x"
                began = time.monotonic()
                eventually("every stranger is gone", lambda: all(ended(one) for one in idle), 60)
                # An idle connection with a certificate stays longer than one without may.
                time.sleep(max(6 - (time.monotonic() - began), 0))
                assert answered(client) == b"db:x"
        finally:
            for one in idle:
                one.close()


def test_connections_of_one_source_and_of_one_certificate_are_limited(
    folder: Path, services: dict[str, Service]
) -> None:
    with (
        oma(folder, folder / "a" / "oma.pem", addresses(services), more={"max_per_certificate": 3}) as port,
        ExitStack() as held,
    ):
        for _ in range(3):
            assert answered(held.enter_context(connected(folder, port))) == b"db:x"
        assert ended(connected(folder, port))
        # Another certificate's are its own.
        assert answered(held.enter_context(connected(folder, port, "gone"))) == b"db:x"
    with (
        oma(folder, folder / "a" / "oma.pem", addresses(services), more={"max_per_source": 3}) as port,
        ExitStack() as held,
    ):
        for _ in range(3):
            assert answered(held.enter_context(connected(folder, port))) == b"db:x"
        with pytest.raises(OSError, match=r".*"):
            answered(connected(folder, port))


def test_a_session_is_never_resumed(folder: Path, services: dict[str, Service]) -> None:
    with oma(folder, folder / "a" / "oma.pem", addresses(services)) as port:
        made = context(folder)
        session = None
        for _ in range(3):
            plain = socket.create_connection(("127.0.0.1", port), 30)
            with made.wrap_socket(plain, server_hostname="db", session=session) as client:
                assert answered(client) == b"db:x"
                assert not client.session_reused
                session = client.session


def test_a_revoked_certificate_s_connection_ends_and_none_follows(folder: Path, services: dict[str, Service]) -> None:
    with oma(folder, folder / "a" / "oma.pem", addresses(services)) as port, ExitStack() as held:
        stays, goes = (held.enter_context(connected(folder, port, name)) for name in ("vma", "gone"))
        assert [answered(one) for one in (stays, goes)] == [b"db:x", b"db:x"]
        notes: list[str] = []
        watcher = watch.Watch(settings(folder, port), notes.append)
        assert watcher.once() == 0
        pki.revoke(folder / "a", "gone")
        assert watcher.once() == 1
        assert ended(goes)
        assert answered(stays) == b"db:x"
        serial = x509.load_pem_x509_certificate((folder / "a" / "gone.pem").read_bytes()).serial_number
        assert any(f"{serial:X} is revoked" in note for note in notes)
        # HAProxy was not restarted, and has the new list.
        with pytest.raises(OSError, match=r".*"):
            answered(connected(folder, port, "gone"))
        assert answered(stays) == b"db:x"


def test_an_expired_certificate_s_connection_ends(folder: Path, services: dict[str, Service]) -> None:
    with oma(folder, folder / "a" / "oma.pem", addresses(services)) as port, ExitStack() as held:
        stays, goes = (held.enter_context(connected(folder, port, name)) for name in ("vma", "brief"))
        assert [answered(one) for one in (stays, goes)] == [b"db:x", b"db:x"]
        watcher = watch.Watch(settings(folder, port), lambda note: None)
        assert watcher.once() == 0
        assert watcher.once(datetime.now(UTC) + timedelta(seconds=601)) == 1
        assert ended(goes)
        assert answered(stays) == b"db:x"


def test_each_connection_has_a_line_with_subject_and_serial(folder: Path, services: dict[str, Service]) -> None:
    with oma(folder, folder / "a" / "oma.pem", addresses(services)) as port:
        with connected(folder, port) as client:
            assert answered(client) == b"db:x"
        serial = x509.load_pem_x509_certificate((folder / "a" / "vma.pem").read_bytes()).serial_number
        log = folder / f"oma-{port}.log"
        wanted = f'db "/CN=vma" serial {serial:X} '
        eventually("the line is there", lambda: wanted in log.read_text(), 20)
