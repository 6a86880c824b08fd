"""The daemon as a service: where it listens, its token, what it says to systemd, and what it writes down."""

from __future__ import annotations

import signal
import socket
import stat
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from migratekit_core.common.files import write_private
from tests.integration.support import eventually, leaked, setting, sql
from tests.lab.lab import COMMAND, Lab
from tests.lab.parts.oma import end_servers
from tests.lab.parts.process import choose_port

SECONDS = 90
TAGS = {"migratekit": "00000000-0000-0000-0000-0000000000a1"}


class Daemon:
    """A second daemon beside the lab's, with folders, socket and token of its own."""

    def __init__(self, lab: Lab, folder: Path, **settings: str) -> None:
        self.lab = lab
        self.folder = folder
        self.socket = folder / "volumes.sock"
        self.token_file = folder / "daemon.token"
        self.log = folder / "log"
        write_private(self.token_file, "first-token-of-this-test\n")
        text = lab.daemon_config.read_text()
        _, _, rest = text.partition("device_timeout")
        oma = lab.cloud.machine("oma01")
        assert oma is not None
        lines = {
            "socket": f'"{self.socket}"',
            "token_file": f'"{self.token_file}"',
            "state_dir": f'"{folder}/state"',
            "nbd_port": str(choose_port(None)),
            # The lab's: it compares the lab's volumes with what Linux has of them.
            "device_dir": f'"{oma["byid"]}"',
            "device_timeout": "2",
            **settings,
        }
        self.config = folder / "oma.toml"
        table = "".join(f"{name} = {value}\n" for name, value in lines.items())
        write_private(self.config, "[daemon]\n" + table + rest[rest.index("[database]") :])

    @contextmanager
    def started(self, **extra: str) -> Iterator[subprocess.Popen[bytes]]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [str(COMMAND), "--config", str(self.config), "volumes", "daemon", "run"],
                env=setting(self.lab, **extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            eventually("the daemon is there", lambda: process.poll() is not None or self.healthy(), SECONDS)
            assert process.poll() is None, self.said()
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise

    def healthy(self) -> bool:
        try:
            return self.http().get("/health").status_code == 200
        except httpx.TransportError:
            return False

    def http(self, token: str = "") -> httpx.Client:
        transport = httpx.HTTPTransport(uds=str(self.socket))
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(transport=transport, base_url="http://volumes", headers=headers, timeout=SECONDS)

    def status(self, token: str) -> int:
        return self.http(token).get("/api/v1/operations").status_code

    def said(self) -> str:
        return self.log.read_text()

    def refused(self, code: int) -> str:
        """Run it, check that it ends at once with this code and three lines, and return them."""
        done = subprocess.run(
            [str(COMMAND), "--config", str(self.config), "volumes", "daemon", "run"],
            env=setting(self.lab),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        lines = done.stderr.splitlines()
        assert done.returncode == code, done.stderr
        assert [line[:7] for line in lines[-3:]] == ["error: ", "  why: ", "   do: "], done.stderr
        assert leaked(self.lab, done.stderr) == []
        return done.stderr


@pytest.fixture
def daemon(lab: Lab, tmp_path: Path) -> Iterator[Daemon]:
    yield Daemon(lab, tmp_path)
    end_servers(tmp_path / "state")


# Where it listens.


def test_a_unix_socket_is_private_and_survives_a_kill(daemon: Daemon) -> None:
    with daemon.started() as process:
        mode = daemon.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        process.kill()
        process.wait()
    assert daemon.socket.exists()
    with daemon.started() as process:
        assert daemon.healthy()
    assert process.returncode == 0
    assert not daemon.socket.exists()


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.1", "oma.example.com"])
def test_it_refuses_to_listen_elsewhere(lab: Lab, tmp_path: Path, address: str) -> None:
    told = Daemon(lab, tmp_path, listen=f'"{address}"').refused(2)
    assert address in told
    assert "only the tunnel" in told


def test_a_taken_port_and_a_file_in_the_sockets_place_are_told(lab: Lab, daemon: Daemon, tmp_path: Path) -> None:
    daemon.socket.write_text("somebody's\n")
    assert "cannot listen" in daemon.refused(4)
    assert daemon.socket.read_text() == "somebody's\n"
    with socket.create_server(("127.0.0.1", 0)) as other:
        text = daemon.config.read_text()
        port = other.getsockname()[1]
        write_private(daemon.config, text.replace(f'socket = "{daemon.socket}"', f"port = {port}"))
        assert f"127.0.0.1:{port}" in daemon.refused(4)


def test_a_start_that_is_refused_leaves_no_exporter(daemon: Daemon) -> None:
    text = daemon.config.read_text()
    write_private(daemon.config, text.replace("ossea-secret.secret", "nowhere.secret"))
    assert "nowhere.secret" in daemon.refused(2)
    assert not list((daemon.folder / "state").glob("nbdkit*"))
    assert str(daemon.folder) not in subprocess.check_output(["ps", "-eo", "args", "-C", "nbdkit"], text=True)


# The token.


def test_a_token_file_that_others_may_read_is_refused(daemon: Daemon) -> None:
    daemon.token_file.chmod(0o640)
    assert "chmod 600" in daemon.refused(5)
    daemon.token_file.chmod(0o600)
    with daemon.started():
        assert daemon.status("first-token-of-this-test") == 200
        # While it runs, too: nobody is let in, and it is not told as the client's fault.
        daemon.token_file.chmod(0o604)
        answer = daemon.http("first-token-of-this-test").get("/api/v1/operations")
        assert answer.status_code == 503
        assert "can be read by others" in answer.json()["why"]
        daemon.token_file.chmod(0o600)
        assert daemon.status("first-token-of-this-test") == 200


def test_rotation_has_an_overlap_and_needs_no_restart(daemon: Daemon) -> None:
    old = "first-token-of-this-test"

    def rotate(overlap: str) -> str:
        options = ["--yes", f"--overlap={overlap}", "--output=json"]
        done = subprocess.run(
            [str(COMMAND), "--config", str(daemon.config), "volumes", "daemon", "token", "rotate", *options],
            env=setting(daemon.lab),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        token = daemon.token_file.read_text().strip()
        assert token not in done.stdout + done.stderr
        return token

    with daemon.started() as process:
        new = rotate("3s")
        assert daemon.status(old) == daemon.status(new) == 200
        eventually("the old token holds no more", lambda: daemon.status(old) == 401, 10)
        assert daemon.status(new) == 200
        newest = rotate("0s")
        assert daemon.status(new) == 401
        assert daemon.status(newest) == 200
        assert process.poll() is None
    for path in (daemon.token_file, daemon.token_file.with_name("daemon.token.previous")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not {token for token in (old, new, newest) if token in daemon.said()}


# What it says to systemd.


def test_systemd_hears_ready_alive_and_stopping(daemon: Daemon, tmp_path: Path) -> None:
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
        service.bind(str(tmp_path / "notify"))
        service.settimeout(SECONDS)

        def until(state: str) -> None:
            while state not in heard:
                heard.extend(service.recv(4096).decode().splitlines())

        with daemon.started(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000") as process:
            until("READY=1")
            assert daemon.healthy()
            until("WATCHDOG=1")
            heard.remove("WATCHDOG=1")
            until("WATCHDOG=1")
            # A process that hangs is silent, so systemd can tell.
            process.send_signal(signal.SIGSTOP)
            service.setblocking(False)
            time.sleep(0.1)
            while True:
                try:
                    service.recv(4096)
                except BlockingIOError:
                    break
            time.sleep(1.2)
            with pytest.raises(BlockingIOError):
                service.recv(4096)
            process.send_signal(signal.SIGCONT)
            service.settimeout(SECONDS)
            process.send_signal(signal.SIGTERM)
            until("STOPPING=1")
            assert process.wait(SECONDS) == 0
    assert heard[0] == "READY=1"


# What it writes down, and what holds it together.


def test_ids_are_in_the_answer_the_log_the_rows_and_cloudstacks_jobs(lab: Lab, daemon: Daemon) -> None:
    correlation, request_id = str(uuid.uuid4()), "req-1.of_this-test"
    headers = {"X-Correlation-Id": correlation, "X-Request-Id": request_id}
    with daemon.started():
        http = daemon.http("first-token-of-this-test")
        body = {"name": "ids", "size": 1, "tags": TAGS}
        answer = http.post("/api/v1/volumes", json=body, headers=headers)
        assert answer.headers["X-Request-Id"] == request_id
        operation = http.get(f"/api/v1/operations/{answer.json()['id']}", params={"wait": 20}).json()
        assert operation["status"] == "completed", operation
        assert operation["correlation_id"] == correlation
        made = http.get("/health", headers={"X-Request-Id": "not good: spaces"}).headers["X-Request-Id"]
        assert uuid.UUID(made)
        http.get("/api/v1/volumes?password=hunter22", headers={"Authorization": "Bearer wrong-but-secret-token"})
        gone = http.delete(f"/api/v1/volumes/{operation['volume_id']}").json()
        http.get(f"/api/v1/operations/{gone['id']}", params={"wait": 20})
    jobs = sql(lab, "SELECT cloudstack_command FROM cloudstack_job_tracking WHERE correlation_id = %s", correlation)
    assert "createVolume" in {job["cloudstack_command"] for job in jobs}
    owners = sql(lab, "SELECT kind FROM joblog_jobs WHERE correlation_id = %s", correlation)
    assert [row["kind"] for row in owners] == ["volume-create"]
    said = daemon.said()
    (line,) = [line for line in said.splitlines() if f"request_id={request_id}" in line]
    assert "POST /api/v1/volumes 202" in line
    assert f"correlation_id={correlation}" in line
    (event,) = [line for line in said.splitlines() if " volume created " in line]
    assert f"correlation_id={correlation}" in event
    assert "volume-create completed" in said
    assert not {secret for secret in ("first-token-of-this-test", "wrong-but-secret", "hunter22") if secret in said}
    assert leaked(lab, said) == []
    assert "Traceback" not in said


def test_every_error_is_a_problem(daemon: Daemon) -> None:
    with daemon.started():
        http = daemon.http("first-token-of-this-test")
        answers = {
            404: http.get("/api/v1/nothing"),
            405: http.put("/api/v1/volumes"),
            422: http.post("/api/v1/volumes", content=b"{not json"),
            413: http.post("/api/v1/volumes", content=b" " * (1 << 20)),
            401: httpx.Client(transport=httpx.HTTPTransport(uds=str(daemon.socket))).get("http://v/api/v1/volumes"),
        }
        for status, answer in answers.items():
            assert answer.status_code == status, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            fields = answer.json()
            assert fields["status"] == status
            assert fields["type"] == "about:blank"
            assert fields["request_id"] == answer.headers["X-Request-Id"]
            assert all(fields[name] for name in ("title", "detail", "instance", "what", "why", "todo"))
        assert "POST" in answers[405].headers["Allow"] or "GET" in answers[405].headers["Allow"]
        assert answers[401].headers["WWW-Authenticate"] == "Bearer"


def test_a_broken_database_is_a_problem_and_not_a_traceback(daemon: Daemon, lab: Lab) -> None:
    with daemon.started():
        http = daemon.http("first-token-of-this-test")
        sql(lab, "RENAME TABLE volume_operations TO volume_operations_away", database="migratekit_volumes")
        try:
            answer = http.get("/api/v1/operations")
        finally:
            sql(lab, "RENAME TABLE volume_operations_away TO volume_operations", database="migratekit_volumes")
        assert answer.status_code in (500, 502, 503)
        assert answer.headers["content-type"] == "application/problem+json"
        assert http.get("/api/v1/operations").status_code == 200
    assert "Traceback" not in daemon.said()


def test_a_request_that_stops_in_the_middle_holds_up_nobody(daemon: Daemon) -> None:
    with daemon.started():
        stuck = [socket.socket(socket.AF_UNIX) for _ in range(60)]
        try:
            for client in stuck:
                client.connect(str(daemon.socket))
                client.sendall(b"POST /api/v1/volumes HTTP/1.1\r\nHost: v\r\nContent-Length: 99\r\n\r\n{")
            assert daemon.status("first-token-of-this-test") == 200
            for client in stuck:
                client.setblocking(False)
                with pytest.raises(BlockingIOError):
                    client.recv(1)
        finally:
            for client in stuck:
                client.close()


def test_many_who_wait_for_an_operation_hold_up_nobody(lab: Lab, daemon: Daemon) -> None:
    """More waiting requests than the server has threads: reads go on meanwhile, and all are answered at its end."""
    lab.cloud.fault(command="createVolume", mode="slow", seconds=8, count=1)
    code = (
        "import asyncio, httpx, sys\n"
        "async def main(path, operation):\n"
        "    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=path), timeout=30,\n"
        "            headers={'Authorization': 'Bearer first-token-of-this-test'}) as http:\n"
        "        url = f'http://v/api/v1/operations/{operation}?wait=20'\n"
        "        found = await asyncio.gather(*(http.get(url) for _ in range(100)))\n"
        "        print(sorted({one.json()['status'] for one in found}))\n"
        "asyncio.run(main(*sys.argv[1:]))\n"
    )
    with daemon.started():
        http = daemon.http("first-token-of-this-test")
        operation = http.post("/api/v1/volumes", json={"name": "slow", "size": 1, "tags": TAGS}).json()["id"]
        python = COMMAND.with_name("python")
        waiting = subprocess.Popen(
            [str(python), "-c", code, str(daemon.socket), operation], stdout=subprocess.PIPE, text=True
        )
        time.sleep(2)
        status = daemon.status("first-token-of-this-test")
        under_way = http.get(f"/api/v1/operations/{operation}").json()["status"]
        out, _ = waiting.communicate(timeout=SECONDS)
        volume_id = http.get(f"/api/v1/operations/{operation}", params={"wait": 20}).json()["volume_id"]
        gone = http.delete(f"/api/v1/volumes/{volume_id}").json()
        http.get(f"/api/v1/operations/{gone['id']}", params={"wait": 20})
    assert status == 200
    assert under_way == "running", "the read was answered while the others still waited"
    assert out.strip() == "['completed']"
