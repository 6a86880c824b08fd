"""The tunnel with HAProxy on both ends: what gets through, what is refused, and who runs when."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from migratekit_core.adapters.tunnel import SERVICES, local, pki
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.config.folders import runtime_dir, socket_path
from migratekit_core.config.schema import Tunnel
from migratekit_core.joblog.process import started
from tests.tunnels import Service, addresses, ask, free_port, oma, running_services


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Two installations' certificates, `a` and `b`; the path is short, for sockets live below it."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        for ca in ("a", "b"):
            pki.init(Path(name) / ca)
        yield Path(name)


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Service]]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module")
def port(folder: Path, services: dict[str, Service]) -> Iterator[int]:
    with oma(folder, folder / "a" / "oma.pem", addresses(services)) as listening:
        yield listening


Make = Callable[..., Tunnel]


@pytest.fixture
def make(folder: Path) -> Iterator[Make]:
    """Return a maker of settings of tunnels with a runtime folder of their own; they are stopped at the end."""
    with ExitStack() as stack:
        runtime = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="mk")))

        def tunnel(port: int, ca: str = "a", certificate: str = "a/vma.pem", runtime_dir: Path = runtime) -> Tunnel:
            settings = Tunnel(kind="tls", host="127.0.0.1", port=port, ca_file=folder / ca / "ca.pem",
                              cert_file=folder / certificate, runtime_dir=runtime_dir)  # fmt: skip
            stack.callback(local.down, settings)
            return settings

        yield tunnel


def test_each_socket_leads_to_its_service(port: int, make: Make) -> None:
    tunnel = make(port)
    local.up(tunnel)
    for service in SERVICES:
        assert ask(socket_path(tunnel, service)) == service.encode() + b":hello"


def test_many_bytes_come_through_unchanged(port: int, make: Make) -> None:
    tunnel = make(port)
    local.up(tunnel)
    sent = os.urandom(3_000_000)
    received = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(socket_path(tunnel, "nbd")))
        for start in range(0, len(sent), 50_000):
            client.sendall(sent[start : start + 50_000])
            answer = b""
            # The service says its name before each piece that it got.
            while len(answer.replace(b"nbd:", b"")) < 50_000:
                answer += client.recv(65536)
            received += answer.replace(b"nbd:", b"")
    assert received == sent


@contextmanager
def session(port: int, name: str, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname=name) as secure,
    ):
        yield secure


def trusting(folder: Path, certificate: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(folder / "a" / "ca.pem"))
    if certificate:
        context.load_cert_chain(folder / certificate)
    return context


def test_the_right_client_gets_through_by_hand_too(port: int, folder: Path) -> None:
    with session(port, "db", trusting(folder, "a/vma.pem")) as secure:
        secure.sendall(b"x")
        assert secure.recv(100) == b"db:x"
        assert secure.version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("certificate", "alert"),
    [(None, "CERTIFICATE_REQUIRED"), ("b/vma.pem", "UNKNOWN_CA"), ("a/oma.pem", "UNSUPPORTED_CERTIFICATE")],
    ids=["no certificate", "another CA", "a server's certificate"],
)
def test_a_client_without_the_right_certificate_is_told_so(
    port: int, folder: Path, services: dict[str, Service], certificate: str | None, alert: str
) -> None:
    before = services["db"].visits
    with pytest.raises(ssl.SSLError) as caught, session(port, "db", trusting(folder, certificate)) as secure:
        secure.sendall(b"x")
        secure.recv(100)
    assert alert in str(caught.value.reason)
    assert services["db"].visits == before


def test_a_name_that_is_no_service_gets_nothing(port: int, folder: Path, services: dict[str, Service]) -> None:
    context = trusting(folder, "a/vma.pem")
    context.check_hostname = False
    before = {name: service.visits for name, service in services.items()}
    for name in ("oma", "mysql", "volumes.example", "dbx"):
        answer = b""
        # The connection ends with or without TLS's own goodbye.
        with suppress(ssl.SSLEOFError, ConnectionError), session(port, name, context) as secure:
            secure.sendall(b"x")
            answer = secure.recv(100)
        assert answer == b""
    assert {name: service.visits for name, service in services.items()} == before


def test_an_older_tls_is_refused(port: int, folder: Path) -> None:
    context = trusting(folder, "a/vma.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError) as caught, session(port, "db", context):
        raise AssertionError("a handshake of TLS 1.2 ended well")
    assert "PROTOCOL_VERSION" in str(caught.value.reason)


def test_plain_text_gets_nothing(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"db:" not in plain.recv(1000)


@pytest.mark.parametrize("impostor", ["b/oma.pem", "a/vma.pem"], ids=["another CA", "a client's certificate"])
def test_the_local_end_trusts_no_other_server(
    folder: Path, services: dict[str, Service], make: Make, impostor: str
) -> None:
    before = {name: service.visits for name, service in services.items()}
    with oma(folder, folder / impostor, addresses(services)) as port:
        tunnel = make(port)
        local.up(tunnel)
        assert ask(socket_path(tunnel, "nbd")) == b""
    assert {name: service.visits for name, service in services.items()} == before


def test_up_twice_shares_one_process(make: Make) -> None:
    tunnel = make(free_port())
    first, second = local.up(tunnel), local.up(tunnel)
    assert first == second
    assert first.up
    assert first.pid is not None
    assert started(first.pid)


def test_the_sockets_and_the_settings_are_private(make: Make) -> None:
    tunnel = make(free_port())
    status = local.up(tunnel)
    assert set(status.sockets) == set(SERVICES)
    for path in [*status.sockets.values(), runtime_dir(tunnel) / "tunnel.cfg"]:
        assert Path(path).stat().st_mode & 0o777 == 0o600


def test_down_stops_it_and_leaves_no_socket(make: Make) -> None:
    tunnel = make(free_port())
    pid = local.up(tunnel).pid
    assert pid is not None
    assert local.down(tunnel) is True
    assert started(pid) == ""
    assert not list(runtime_dir(tunnel).glob("*.sock"))
    assert (local.status(tunnel).up, local.status(tunnel).pid) == (False, None)
    assert local.down(tunnel) is False


def test_changed_settings_restart_it(make: Make) -> None:
    first = local.up(make(free_port()))
    changed = make(free_port())
    second = local.up(changed)
    assert second.up
    assert second.pid != first.pid
    assert second.remote == f"127.0.0.1:{changed.port}"
    assert first.pid is not None
    assert started(first.pid) == ""


def test_one_that_was_killed_is_started_again(port: int, make: Make) -> None:
    tunnel = make(port)
    first = local.up(tunnel)
    assert first.pid is not None
    os.kill(first.pid, 9)
    while started(first.pid):
        time.sleep(0.01)
    second = local.up(tunnel)
    assert second.pid != first.pid
    assert ask(socket_path(tunnel, "db")) == b"db:hello"


@pytest.mark.parametrize("began", ["long-ago", ""])
def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(make: Make, began: str) -> None:
    tunnel = make(free_port())
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            (runtime_dir(tunnel) / "tunnel.pid").write_text(f"{stranger.pid} {began}\n")
            assert local.down(tunnel) is False
            (runtime_dir(tunnel) / "tunnel.pid").write_text(f"{stranger.pid} {began}\n")
            assert local.up(tunnel).pid != stranger.pid
            assert local.down(tunnel) is True
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_damaged_pid_file_does_not_stop_anything(make: Make) -> None:
    tunnel = make(free_port())
    (runtime_dir(tunnel) / "tunnel.pid").write_text("not-a-pid started\n")
    assert local.status(tunnel).up is False
    assert local.up(tunnel).up


def test_a_runtime_folder_too_deep_for_sockets_is_refused_before_anything_is_made(make: Make, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    with pytest.raises(UsageError) as caught:
        local.up(make(free_port(), runtime_dir=deep))
    assert "tunnel.runtime_dir" in caught.value.what
    assert not deep.exists()


def test_the_longest_runtime_folder_that_fits_works(make: Make) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as short:
        # /volumes.sock is the longest of the sockets' names.
        deep = Path(short) / ("d" * (local.LONGEST_SOCKET_PATH - len("/volumes.sock") - len(short) - 1))
        tunnel = make(free_port(), runtime_dir=deep)
        try:
            assert local.up(tunnel).up
        finally:
            local.down(tunnel)
            shutil.rmtree(deep, ignore_errors=True)


def test_files_that_haproxy_cannot_use_are_named_in_its_words(make: Make) -> None:
    with pytest.raises(PreconditionError) as caught:
        local.up(make(free_port(), certificate="a/none.pem"))
    assert "none.pem" in caught.value.why
