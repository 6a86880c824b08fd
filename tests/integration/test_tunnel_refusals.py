"""Every way in which one end of the tunnel refuses the other, each with a real handshake and with words of its own."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migratekit_core.adapters.tunnel import SERVICES, Gate, local, pki, refusal
from migratekit_core.adapters.tunnel.probe import probe
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.common.files import write_private
from migratekit_core.config.schema import Tunnel
from migratekit_core.engine.job import Job
from migratekit_core.engine.process import Engines, copy
from tests.lab.lab import COMMAND, environment
from tests.tunnels import Service, addresses, free_port, oma, running_services


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """The CA `a` with good, expired and revoked certificates for both ends, and `b`, another one."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        made = Path(name)
        for ca in ("a", "b"):
            pki.init(made / ca)
        for kind, server in (("vma", False), ("oma", True)):
            names = list(SERVICES) if server else []
            pki.issue(made / "a", f"{kind}-late", server=server, names=names, days=-1)
            pki.issue(made / "a", f"{kind}-revoked", server=server, names=names)
            pki.revoke(made / "a", f"{kind}-revoked")
        pki.issue(made / "a", "oma-other", server=True, names=["www.example.org"])
        yield made


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Service]]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module")
def port(folder: Path, services: dict[str, Service]) -> Iterator[int]:
    with oma(folder, folder / "a" / "oma.pem", addresses(services)) as listening:
        yield listening


@pytest.fixture
def untouched(services: dict[str, Service]) -> Iterator[None]:
    """Nothing that is refused may reach a service."""
    before = {name: service.visits for name, service in services.items()}
    yield
    assert {name: service.visits for name, service in services.items()} == before


def tunnel(folder: Path, port: int, certificate: str = "a/vma", ca: str = "a", crl: str | None = "a") -> Tunnel:
    return Tunnel(
        kind="tls", host="127.0.0.1", port=port, ca_file=folder / ca / "ca.pem",
        cert_file=folder / f"{certificate}.pem", crl_file=folder / crl / "crl.pem" if crl else None,
        runtime_dir=folder / "vma",
    )  # fmt: skip


def seen(settings: Tunnel) -> MigrateKitError:
    problem = probe(settings).problem
    assert problem is not None, "it was taken"
    assert problem.what
    assert problem.why
    assert problem.todo
    return problem


OF_US = {
    "a/vma-late": (ErrorCode.CERTIFICATE_EXPIRED, 10),
    "a/vma-revoked": (ErrorCode.CERTIFICATE_REVOKED, 23),
    "b/vma": (ErrorCode.CERTIFICATE_FOREIGN, 20),
    "a/oma": (ErrorCode.CERTIFICATE_UNFIT, 26),
}
"""What the OMA refuses, what the error is, and OpenSSL's number in HAProxy's log on the OMA."""
OF_THEM = {
    "a/oma-late": ErrorCode.CERTIFICATE_EXPIRED,
    "a/oma-revoked": ErrorCode.CERTIFICATE_REVOKED,
    "b/oma": ErrorCode.CERTIFICATE_FOREIGN,
    "a/oma-other": ErrorCode.CERTIFICATE_UNFIT,
    "a/vma": ErrorCode.CERTIFICATE_UNFIT,
}


def test_the_right_ones_take_each_other(folder: Path, port: int) -> None:
    found = probe(tunnel(folder, port))
    assert found.problem is None
    assert found.protocol.startswith("TLSv1.3")
    assert found.certificate_ends is not None


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("certificate", OF_US)
def test_the_oma_refuses_and_says_why_at_both_ends(folder: Path, port: int, certificate: str) -> None:
    code, number = OF_US[certificate]
    problem = seen(tunnel(folder, port, certificate))
    assert isinstance(problem, AuthError)
    assert (problem.code, problem.facts) == (code, {"whose": "vma"})
    log = folder / f"oma-{port}.log"
    deadline = time.monotonic() + 10
    while f"verify code {number}" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("certificate", OF_THEM)
def test_we_refuse_another_oma_and_say_why(folder: Path, services: dict[str, Service], certificate: str) -> None:
    with oma(folder, folder / f"{certificate}.pem", addresses(services)) as port:
        problem = seen(tunnel(folder, port))
    assert isinstance(problem, AuthError)
    assert (problem.code, problem.facts) == (OF_THEM[certificate], {"whose": "oma"})


def test_no_two_reasons_share_their_words() -> None:
    all_words = [*refusal.OURS.values(), *refusal.THEIRS.values(), refusal.FOREIGN, refusal.OLD_TLS, refusal.NO_TLS]
    assert len({words.what for words in all_words}) == len(all_words)


def explained(context: ssl.SSLContext, port: int) -> MigrateKitError:
    """Return the words for a handshake that our own settings do not allow."""
    with pytest.raises(OSError) as caught:
        with (
            socket.create_connection(("127.0.0.1", port), 10) as plain,
            context.wrap_socket(plain, server_hostname="db") as secured,
        ):
            assert secured.recv(1) != b"", "the OMA closed without a reason"
    return refusal.explained(caught.value, "oma")


@pytest.mark.usefixtures("untouched")
def test_no_certificate(folder: Path, port: int) -> None:
    problem = explained(ssl.create_default_context(cafile=str(folder / "a" / "ca.pem")), port)
    assert (type(problem), problem.code) == (AuthError, ErrorCode.CERTIFICATE_REFUSED)


@pytest.mark.usefixtures("untouched")
def test_tls_1_2_is_refused_by_the_oma(folder: Path, port: int) -> None:
    context = ssl.create_default_context(cafile=str(folder / "a" / "ca.pem"))
    context.load_cert_chain(folder / "a" / "vma.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert explained(context, port).code is ErrorCode.TLS_VERSION


@contextmanager
def server(context: ssl.SSLContext | None, answer: bytes = b"") -> Iterator[int]:
    """Take one connection, as something that is no OMA."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            plain, _ = listening.accept()
            with plain:
                if context is None:
                    plain.recv(4096)
                    plain.sendall(answer)
                    return
                with pytest.raises(OSError):
                    context.wrap_socket(plain, server_side=True)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listening.getsockname()[1])
        thread.join(10)


def test_an_oma_that_speaks_tls_1_2_alone_is_refused(folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "a" / "oma.pem")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with server(context) as port:
        problem = seen(tunnel(folder, port))
    assert problem.code is ErrorCode.TLS_VERSION


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"], ids=str)
def test_what_is_no_tls_is_named_so(folder: Path, answer: bytes) -> None:
    with server(None, answer) as port:
        problem = seen(tunnel(folder, port))
    assert problem.code is ErrorCode.WRONG_SERVICE
    assert isinstance(problem, UnreachableError)


def test_nobody_there(folder: Path) -> None:
    assert seen(tunnel(folder, free_port())).code is ErrorCode.OMA_NOT_LISTENING


def test_a_service_that_is_down_is_not_blamed_on_a_certificate(folder: Path) -> None:
    closed = dict.fromkeys(SERVICES, f"127.0.0.1:{free_port()}")
    with oma(folder, folder / "a" / "oma.pem", closed) as port:
        problem = seen(tunnel(folder, port))
    assert problem.code is ErrorCode.CONNECTION_CLOSED
    assert "volumes" in problem.why


def test_a_list_of_another_ca_is_named(folder: Path, port: int) -> None:
    assert seen(tunnel(folder, port, crl="b")).code is ErrorCode.CRL_UNUSABLE


def test_without_a_list_a_revoked_oma_is_taken(folder: Path, services: dict[str, Service]) -> None:
    """The control: it is the list that does it."""
    with oma(folder, folder / "a" / "oma-revoked.pem", addresses(services)) as port:
        assert probe(tunnel(folder, port, crl=None)).problem is None


@pytest.mark.parametrize("damage", ["missing", "no key", "another key"])
def test_own_files_that_cannot_be_used_are_named(folder: Path, port: int, damage: str) -> None:
    good = (folder / "a" / "vma.pem").read_text()
    other = (folder / "b" / "vma.pem").read_text()
    end = good.index("-----BEGIN PRIVATE KEY")
    text = {"missing": "", "no key": good[:end], "another key": good[:end] + other[other.index("-----BEGIN PRIVATE") :]}
    path = folder / "a" / "own.pem"
    path.unlink(missing_ok=True)
    if damage != "missing":
        write_private(path, text[damage])
    problem = seen(tunnel(folder, port, "a/own"))
    assert isinstance(problem, PreconditionError)
    assert "own.pem" in problem.what


def test_the_engine_says_why_too(folder: Path, port: int) -> None:
    good = tunnel(folder, port, "a/vma-revoked")
    gate = Gate("127.0.0.1", port, "nbd", str(good.ca_file), str(good.cert_file), "x", str(good.crl_file))
    image = folder / "image"
    image.write_bytes(b"x" * 4096)
    source, target = folder / "source.sock", folder / "target.sock"
    with nbdkit(source, image, "-r"), nbdkit(target, image):
        job = Job("disk", f"nbd+unix:///?socket={source}", f"nbd+unix:///?socket={target}", 4096, True, gate=gate)
        with pytest.raises(UnreachableError) as caught:
            copy(job, [(0, 4096)], lambda event: None, Engines())
    assert caught.value.code is ErrorCode.NBD_UNREACHABLE
    assert "this host's certificate is revoked" in caught.value.why


@contextmanager
def nbdkit(path: Path, image: Path, *options: str) -> Iterator[None]:
    with subprocess.Popen(["nbdkit", "-f", *options, "-U", str(path), "file", str(image)]) as process:
        try:
            while not path.exists():
                time.sleep(0.01)
            yield
        finally:
            process.kill()


def migratekit(folder: Path, settings: Tunnel, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = folder / "config.toml"
    password = folder / "password"
    write_private(password, "no-password-at-all")
    lines = [f'{name} = "{getattr(settings, name)}"' for name in ("kind", "host", "ca_file", "cert_file", "crl_file",
                                                                  "runtime_dir")]  # fmt: skip
    write_private(config, "\n".join([
        "[tunnel]", *lines, f"port = {settings.port}",
        "[database]", 'kind = "mariadb"', f'password = {{ file = "{password}" }}',
    ]))  # fmt: skip
    return subprocess.run(
        [str(COMMAND), "--config", str(config), *arguments],
        capture_output=True, text=True, timeout=120, check=False, env=environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("certificate", ["a/vma-revoked"])
def test_commands_tell_the_reason(folder: Path, port: int, certificate: str) -> None:
    """Both the command that is asked for it, and one that only meets a database that does not answer."""
    settings = tunnel(folder, port, certificate)
    try:
        status = migratekit(folder, settings, "tunnel", "status", "--output", "json")
        assert status.returncode == 5, status.stderr
        assert json.loads(status.stdout)["remote_code"] == OF_US[certificate][0]
        check = migratekit(folder, settings, "db", "check")
        assert check.returncode == 5, check.stderr
        what, why, do = check.stderr.splitlines()[-3:]
        assert "MariaDB" in what
        assert what.endswith(f"[{OF_US[certificate][0]}]")
        assert why.startswith("  why: ")
        assert do.startswith("   do: ")
    finally:
        local.down(settings)


def test_a_certificate_that_is_put_in_place_is_used_by_the_next_command(folder: Path, port: int) -> None:
    settings = tunnel(folder, port, "a/mine")
    shutil.copy(folder / "a" / "vma-revoked.pem", folder / "a" / "mine.pem")
    try:
        first = local.up(settings)
        shutil.copy(folder / "a" / "vma.pem", folder / "a" / "mine.pem")
        assert local.up(settings).pid != first.pid
        assert local.up(settings).pid == local.up(settings).pid
    finally:
        local.down(settings)
