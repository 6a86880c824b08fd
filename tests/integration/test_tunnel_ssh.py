"""The ssh kind against a real OpenSSH server: what gets through, what is refused, and how a dead line is noticed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from migratekit_core.adapters.tunnel import SERVICES, local
from migratekit_core.adapters.tunnel.probe import probe
from migratekit_core.adapters.tunnel.remote import remote_facts
from migratekit_core.adapters.tunnel.ssh.login import connect, login_of
from migratekit_core.adapters.tunnel.ssh.server import FACTS, authorized_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, MigrateKitError, OperationFailedError, UnreachableError, UsageError
from migratekit_core.config.folders import runtime_dir, socket_path
from migratekit_core.config.schema import Config, SshLogin, Tunnel
from migratekit_core.engine.job import Job
from migratekit_core.engine.process import Engines, copy
from migratekit_core.joblog.process import started
from tests.integration import servers
from tests.integration.servers import MIB, SIZE, Server, same
from tests.integration.support import eventually
from tests.lab.lab import COMMAND
from tests.lab.parts import sshd
from tests.lab.parts.process import choose_port
from tests.tunnels import Service, addresses, ask, free_port, running_services

SECRET = "the passphrase of this test"


@pytest.fixture(scope="module")
def services() -> Iterator[dict[str, Service]]:
    with running_services() as running:
        yield running


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def oma(folder: Path, services: dict[str, Service]) -> Iterator[sshd.Sshd]:
    port = choose_port(None)
    running = sshd.start(folder / "sshd", port, addresses(services), command=f"{COMMAND} {FACTS}")
    yield running
    running.part.stop()


Make = Callable[..., Tunnel]


@pytest.fixture
def make(oma: sshd.Sshd, services: dict[str, Service]) -> Iterator[Make]:
    """Return a maker of settings; what they bring up is stopped at the end."""
    made = []
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:

        def tunnel(port: int = oma.port, places: dict[str, str] | None = None, **ssh: Any) -> Tunnel:
            fields = {"user": oma.user, "host_key": oma.host_key, "key_file": oma.key_file, **ssh}
            settings = Tunnel(
                kind="ssh", host="127.0.0.1", port=port, runtime_dir=Path(name) / "run",
                ssh=SshLogin(**fields), services=places or addresses(services),
            )  # fmt: skip
            made.append(settings)
            return settings

        yield tunnel
        for settings in made:
            local.down(settings)


def log(tunnel: Tunnel) -> str:
    return (runtime_dir(tunnel) / local.LOG).read_text()


def test_each_socket_leads_to_its_service(make: Make) -> None:
    tunnel = make()
    status = local.up(tunnel)
    assert (status.up, status.kind) == (True, "ssh")
    for service in SERVICES:
        assert ask(socket_path(tunnel, service)) == service.encode() + b":hello"
        assert socket_path(tunnel, service).stat().st_mode & 0o777 == 0o600
    assert probe(tunnel).problem is None
    assert log(tunnel).count("logged in") == 1, "all of them share one login"


def test_up_twice_shares_one_process_and_down_ends_it(make: Make) -> None:
    tunnel = make()
    first, second = local.up(tunnel), local.up(tunnel)
    assert first == second
    assert first.pid is not None
    assert local.down(tunnel) is True
    eventually("it has ended", lambda: not started(first.pid or 0), 10)
    assert not list(runtime_dir(tunnel).glob("*.sock"))


def test_a_copy_goes_through_it(make: Make, folder: Path, tmp_path: Path) -> None:
    image = tmp_path / "target.img"
    servers.disk(tmp_path / "source.img")
    servers.dirty(image)
    port = choose_port(None)
    exporter = Server(port, "nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "file", str(image))
    places = dict.fromkeys(SERVICES, f"127.0.0.1:{port}")
    other = sshd.start(folder / "sshd2", choose_port(None), places)
    tunnel = make(other.port, places, host_key=other.host_key, key_file=other.key_file)
    try:
        local.up(tunnel)
        with exporter, servers.source(tmp_path) as source:
            target = f"nbd+unix:///?socket={socket_path(tunnel, 'nbd')}"
            copy(Job("test disk", source, target, SIZE, full=True), [(0, SIZE)], lambda event: None, Engines())
    finally:
        other.part.stop()
    expected = tmp_path / "expected.img"
    expected.write_bytes((tmp_path / "source.img").read_bytes().ljust(servers.ROOM, b"\0"))
    same(image, expected)


def refused(tunnel: Tunnel, kind: type[MigrateKitError]) -> MigrateKitError:
    problem = probe(tunnel).problem
    assert isinstance(problem, kind)
    assert problem.why
    assert problem.todo
    return problem


def test_another_host_key_is_refused_with_both_fingerprints(make: Make, tmp_path: Path) -> None:
    other = " ".join(sshd.keypair(tmp_path / "other").split()[:2])
    problem = refused(make(host_key=other), AuthError)
    assert problem.code is ErrorCode.HOST_KEY_MISMATCH
    assert problem.why.count("SHA256:") == 2


def test_a_pinned_key_of_another_kind_is_refused(make: Make, tmp_path: Path) -> None:
    other = " ".join(sshd.keypair(tmp_path / "other", kind="ecdsa").split()[:2])
    assert refused(make(host_key=other), AuthError).code is ErrorCode.HOST_KEY_MISMATCH


def test_nothing_is_told_to_a_host_that_is_not_the_pinned_one(make: Make, oma: sshd.Sshd, tmp_path: Path) -> None:
    """Not even the user's name: the login begins after the look at the host key."""
    before = oma.part.log.read_text().count("publickey")
    other = " ".join(sshd.keypair(tmp_path / "other").split()[:2])
    refused(make(host_key=other), AuthError)
    assert oma.part.log.read_text().count("publickey") == before


def test_a_key_that_is_not_authorized_is_refused(make: Make, tmp_path: Path) -> None:
    sshd.keypair(tmp_path / "stranger")
    problem = refused(make(key_file=tmp_path / "stranger"), AuthError)
    assert problem.code is ErrorCode.SSH_KEY_REFUSED
    assert "authorized_keys" in problem.why


def test_a_key_that_others_may_read_is_refused_before_anything_is_sent(make: Make, tmp_path: Path) -> None:
    sshd.keypair(tmp_path / "open")
    (tmp_path / "open").chmod(0o644)
    assert refused(make(key_file=tmp_path / "open"), AuthError).code is ErrorCode.FILE_NOT_PRIVATE
    with pytest.raises(AuthError):
        local.up(make(key_file=tmp_path / "open"))


def test_a_passphrase_opens_the_key_and_is_seen_nowhere(make: Make, oma: sshd.Sshd, tmp_path: Path) -> None:
    sshd.keypair(tmp_path / "locked", passphrase=SECRET)
    (tmp_path / "pass").write_text(SECRET + "\n")
    (tmp_path / "pass").chmod(0o600)
    assert refused(make(key_file=tmp_path / "locked"), AuthError).code is ErrorCode.SSH_KEY_UNUSABLE
    before = oma.authorized.read_text()
    line = authorized_line((tmp_path / "locked.pub").read_text().strip(), make().services.addresses, "/bin/false")
    oma.authorized.write_text(before + line + "\n")
    try:
        tunnel = make(key_file=tmp_path / "locked", passphrase={"file": str(tmp_path / "pass")})
        pid = local.up(tunnel).pid
        assert ask(socket_path(tunnel, "db")) == b"db:hello"
        for place in ("cmdline", "environ"):
            assert SECRET.encode() not in Path(f"/proc/{pid}/{place}").read_bytes()
        assert SECRET not in (runtime_dir(tunnel) / local.CONFIG).read_text() + log(tunnel)
    finally:
        oma.authorized.write_text(before)


def test_the_agents_key_is_used_where_no_file_is_named(
    make: Make, oma: sshd.Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(tempfile.mkdtemp(dir="/tmp", prefix="mk")) / "agent"
    with subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL) as agent:
        try:
            eventually("the agent listens", path.exists, 10)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
            assert refused(make(key_file=None), AuthError).code is ErrorCode.SSH_KEY_UNUSABLE
            subprocess.run(["ssh-add", "-q", str(oma.key_file)], check=True, timeout=20)
            tunnel = make(key_file=None)
            local.up(tunnel)
            assert ask(socket_path(tunnel, "nbd")) == b"nbd:hello"
        finally:
            agent.kill()


def test_the_oma_forwards_to_the_three_services_and_to_nothing_else(make: Make, services: dict[str, Service]) -> None:
    """What holds where the VMA's key is in wrong hands."""
    other = Service("secret")
    tunnel = make()
    transport = connect(login_of(tunnel))
    try:
        host, port = services["db"].server_address[:2]
        transport.open_channel("direct-tcpip", (str(host), int(port)), ("127.0.0.1", 0)).close()
        for address in [("127.0.0.1", int(other.server_address[1])), ("127.0.0.1", 22), ("192.0.2.7", 443)]:
            with pytest.raises(paramiko.ChannelException) as caught:
                transport.open_channel("direct-tcpip", address, ("127.0.0.1", 0))
            assert caught.value.code == 1, "administratively prohibited"
        with pytest.raises(paramiko.SSHException):
            transport.request_port_forward("127.0.0.1", 0)
        session = transport.open_session()
        with pytest.raises(paramiko.SSHException):
            session.get_pty()
        # Whatever is asked for, the one command runs.
        session = transport.open_session()
        session.exec_command("cat /etc/passwd")
        assert "root:" not in session.makefile().read().decode()
        with pytest.raises(paramiko.SSHException):
            transport.open_session().invoke_subsystem("sftp")
    finally:
        transport.close()
    assert other.visits == 0


def test_an_address_that_the_oma_does_not_permit_is_closed_and_logged(make: Make, services: dict[str, Service]) -> None:
    tunnel = make(places={**addresses(services), "db": f"127.0.0.1:{free_port()}"})
    local.up(tunnel)
    assert ask(socket_path(tunnel, "db")) == b""
    assert ask(socket_path(tunnel, "nbd")) == b"nbd:hello"
    assert "rohibited" in log(tunnel)


def test_a_login_that_breaks_is_made_again_with_pauses(make: Make, oma: sshd.Sshd) -> None:
    tunnel = make()
    pid = local.up(tunnel).pid
    assert ask(socket_path(tunnel, "db")) == b"db:hello"
    # The server's processes for this login, as a restart of the OMA ends them.
    for child in subprocess.run(
        ["pgrep", "-P", str(oma.part.process.pid)], capture_output=True, text=True
    ).stdout.split():
        os.kill(int(child), signal.SIGKILL)
    eventually("it logs in again", lambda: log(tunnel).count("logged in") == 2, 20)
    assert ask(socket_path(tunnel, "db")) == b"db:hello"
    assert local.status(tunnel).pid == pid


def test_an_oma_that_is_away_is_asked_again_and_again_ever_less_often(make: Make) -> None:
    tunnel = make(free_port())
    began = time.monotonic()
    local.up(tunnel)
    eventually("three tries", lambda: log(tunnel).count("again in") >= 3, 20)
    pauses = [float(line.split("again in ")[1].split()[0]) for line in log(tunnel).splitlines() if "again in" in line]
    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert time.monotonic() - began >= 0.6


def test_the_facts_of_the_oma_come_by_the_same_key(make: Make) -> None:
    config = Config(tunnel=make())
    facts = remote_facts(config)
    assert facts.host == socket.gethostname()
    assert {service.name for service in facts.services} == {"tunnel", *SERVICES}
    assert facts.versions["migratekit"]
    assert facts.versions["haproxy"].startswith("HAProxy")
    assert facts.disks[0].total > facts.disks[0].free > 0
    # It is this very machine: its clock differs by nothing.
    assert abs(facts.clock_skew) < 5
    assert 0 < facts.round_trip < 5


def test_an_oma_without_the_command_is_told_from_one_that_is_away(make: Make, oma: sshd.Sshd) -> None:
    before = oma.authorized.read_text()
    try:
        oma.authorized.write_text(before.replace(str(COMMAND), "/nonexistent/migratekit"))
        with pytest.raises(MigrateKitError) as caught:
            remote_facts(Config(tunnel=make()))
        assert caught.value.code is ErrorCode.NOT_INSTALLED
        oma.authorized.write_text(before.replace(f"{COMMAND} {FACTS}", "echo hello"))
        with pytest.raises(OperationFailedError):
            remote_facts(Config(tunnel=make()))
    finally:
        oma.authorized.write_text(before)
    with pytest.raises(UnreachableError):
        remote_facts(Config(tunnel=make(free_port())))


def test_authorize_prints_the_line_that_the_server_got(oma: sshd.Sshd, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    public = oma.key_file.with_name("vma_key.pub")
    done = subprocess.run(
        [str(COMMAND), "--config", str(config), "tunnel", "server", "authorize", str(public)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.startswith('restrict,port-forwarding,permitopen="127.0.0.1:3306"')
    assert done.stdout.count("permitopen") == 3
    assert f'command="/usr/local/bin/migratekit {FACTS}"' in done.stdout
    with pytest.raises(UsageError):
        authorized_line(oma.key_file.read_text(), {}, "")


def test_facts_are_json_for_whoever_asks(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("")
    command = [str(COMMAND), "--config", str(config), *FACTS.split()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout)["schema"] == "migratekit.oma-facts/1"


def test_a_copy_pieces_of_many_mebibytes(make: Make) -> None:
    tunnel = make()
    local.up(tunnel)
    sent = os.urandom(MIB) * 24
    answer = bytearray()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(socket_path(tunnel, "nbd")))
        for start in range(0, len(sent), MIB):
            client.sendall(sent[start : start + MIB])
            while len(answer.replace(b"nbd:", b"")) < MIB:
                answer += client.recv(1 << 16)
            assert bytes(answer).replace(b"nbd:", b"") == sent[start : start + MIB]
            answer.clear()
