"""What tests of the tunnel share: services that count who comes, and an OMA's end before them."""

from __future__ import annotations

import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from migratekit_core.adapters.tunnel import SERVICES, server
from migratekit_core.config.schema import TunnelServer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service(socketserver.ThreadingTCPServer):
    """Answers each message with its own name before it, and counts who came."""

    daemon_threads = True

    def __init__(self, name: str) -> None:
        self.visits = 0
        service = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                service.visits += 1
                while data := self.request.recv(65536):
                    self.request.sendall(name.encode() + b":" + data)

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


@contextmanager
def oma(
    folder: Path,
    certificate: Path,
    services: dict[str, str],
    port: int | None = None,
    more: dict[str, Any] | None = None,
) -> Iterator[int]:
    """Run the OMA's end with the CA `a` of the folder; yield its port. Its log is `folder/oma-PORT.log`."""
    port = port or free_port()
    config = folder / f"oma-{port}.cfg"
    settings = TunnelServer(
        listen=f"127.0.0.1:{port}", cert_file=certificate, ca_file=folder / "a" / "ca.pem",
        crl_file=folder / "a" / "crl.pem", stats_socket=folder / f"oma-{port}.sock", **{**services, **(more or {})},
    )  # fmt: skip
    config.write_text(server.render(settings))
    with (folder / f"oma-{port}.log").open("ab") as log:
        process = subprocess.Popen(["haproxy", "-db", "-f", str(config)], stderr=log)
    try:
        while True:
            assert process.poll() is None, "HAProxy refused what server.render made"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()


@contextmanager
def running_services() -> Iterator[dict[str, Service]]:
    """Run one of each service of an OMA."""
    running = {name: Service(name) for name in SERVICES}
    try:
        yield running
    finally:
        for service in running.values():
            service.shutdown()
            service.server_close()


def addresses(services: dict[str, Service]) -> dict[str, str]:
    return {name: f"127.0.0.1:{service.server_address[1]}" for name, service in services.items()}


def ask(path: Path, message: bytes = b"hello") -> bytes:
    """Send a message through a local end, and return what comes until nothing does."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(path))
        try:
            client.sendall(message)
            client.shutdown(socket.SHUT_WR)
            answer = b""
            while data := client.recv(65536):
                answer += data
            return answer
        except (ConnectionResetError, BrokenPipeError):
            return b""
