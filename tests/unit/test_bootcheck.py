"""The boot check: what counts as an answer, and what is told where there is none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from migratekit_core.common.errors import OperationFailedError
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import bootcheck
from migratekit_core.services.failover.bootcheck import Check, parse


class Cloud:
    """Answers listVirtualMachines with one state after the other, the last one for ever."""

    def __init__(self, *states: str, address: str | None = "127.0.0.1") -> None:
        self.states = list(states)
        self.address = address

    def list(self, command: str, key: str, **parameters: Any) -> list[dict[str, Any]]:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        if state == "gone":
            return []
        nics = [{"ipaddress": self.address, "isdefault": True}] if self.address else [{"isdefault": True}]
        return [{"id": "vm-1", "name": "web01", "state": state, "nic": nics}]


class Step:
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.said: list[tuple[str, EventKind]] = []
        self.job = self

    def stop_if_cancelled(self) -> None:
        """Nobody has asked."""

    def log(self, kind: EventKind, /, *, level: str = "info", **fields: Any) -> None:
        self.said.append((level, kind))


@contextmanager
def service(talk: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve on a port of loopback; each connection is talked to and closed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        stop.set()
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootcheck, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(bootcheck, "ANSWER_SECONDS", 1.0)


def wait(cloud: Cloud, check: str, timeout: float = 0.3) -> tuple[bootcheck.Booted, Step]:
    step = Step()
    return bootcheck.wait(cloud, step, "vm-1", parse(check), timeout), step  # type: ignore[arg-type]


def fails(cloud: Cloud, check: str, timeout: float = 0.3) -> str:
    with pytest.raises(OperationFailedError) as caught:
        wait(cloud, check, timeout)
    assert "look at its console in CloudStack" in str(caught.value.todo)
    return str(caught.value)


def test_a_check_is_parsed_and_written_as_it_was() -> None:
    assert parse("tcp:22/SSH-2.0/x") == Check("tcp", 22, "SSH-2.0/x")
    for text in ("state", "ping", "tcp:3389", "tcp:22/SSH-"):
        assert str(parse(text)) == text


def test_state_is_enough_where_nothing_else_is_asked_for() -> None:
    booted, step = wait(Cloud("Stopped", "Starting", "Running", address=None), "state")
    assert (booted.state, booted.addresses) == ("Running", ())
    assert [kind for _, kind in step.said] == [EventKind.MACHINE_RUNS, EventKind.MACHINE_UP]


@pytest.mark.parametrize(("states", "why"), [(("Error",), "Error"), (("gone",), "gone")])
def test_a_machine_that_cannot_come_up_is_not_waited_for(states: tuple[str, ...], why: str) -> None:
    assert fails(Cloud(*states), "state", timeout=60).startswith(f"{'web01' if why == 'Error' else 'vm-1'} does not")


def test_a_guest_that_stops_again_is_not_waited_for() -> None:
    assert "its state is Stopped, after it was Running" in fails(Cloud("Running", "Stopped"), "tcp:1", timeout=60)


def test_a_machine_that_does_not_start_is_given_up_in_time() -> None:
    assert "after 0 s: its state is Starting" in fails(Cloud("Starting"), "state")


def test_a_port_that_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert f"127.0.0.1 port {port}: Connection refused (boot check: tcp:{port})" in fails(
        Cloud("Running"), f"tcp:{port}"
    )


def test_a_service_that_waits_for_its_client_answers() -> None:
    with service(lambda connection: (connection.settimeout(2), connection.recv(1))[0]) as port:
        assert wait(Cloud("Running"), f"tcp:{port}")[0].check == f"tcp:{port}"


def test_something_in_between_that_takes_the_connection_and_hangs_up_is_no_answer() -> None:
    with service(lambda connection: None) as port:
        assert f"port {port}: accepts and hangs up" in fails(Cloud("Running"), f"tcp:{port}")


def test_a_greeting_has_to_be_the_one_that_was_named() -> None:
    with service(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as port:
        wait(Cloud("Running"), f"tcp:{port}/SSH-")
        assert f"port {port}: says 'SSH-2.0-OpenSSH_9.2" in fails(Cloud("Running"), f"tcp:{port}/220 ")


def test_a_service_that_comes_up_late_is_waited_for() -> None:
    count = iter(range(100))
    greet = lambda connection: connection.sendall(b"ready") if next(count) > 2 else None  # noqa: E731
    with service(greet) as port:
        _, step = wait(Cloud("Running"), f"tcp:{port}/ready", timeout=20)
    assert [kind for _, kind in step.said] == [EventKind.MACHINE_RUNS, EventKind.MACHINE_UP]


def test_ping_really_pings() -> None:
    assert wait(Cloud("Running"), "ping", timeout=5)[0].addresses == ("127.0.0.1",)


def test_without_an_address_nothing_can_be_asked() -> None:
    assert "CloudStack knows no IP address of it" in fails(Cloud("Running", address=None), "ping")
