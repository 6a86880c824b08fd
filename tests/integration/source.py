"""A simulator of one's own with a configuration for it, and a proxy that cuts its connections once."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyVim.connect import Disconnect, SmartConnect
from typer.testing import CliRunner, Result

from migratekit_cli.main import app
from migratekit_core.adapters.vsphere import session
from migratekit_core.config.load import load_config
from migratekit_core.config.schema import VCenter as Settings
from tests.integration.support import COMMAND
from tests.lab.lab import BINARY
from tests.lab.parts import vcenter
from tests.lab.parts.process import choose_port

PASSWORD = "not a secret"


class Source:
    """A running simulator with a configuration for it."""

    def __init__(self, lab: vcenter.VCenter, folder: Path) -> None:
        self.lab = lab
        self.config = folder / "config.toml"
        self.config.write_text(
            f'[vcenter]\nhost = "127.0.0.1"\nport = {lab.port}\nuser = "{vcenter.USER}"\nca_file = "{lab.ca}"\n'
            f'password = {{ file = "{folder / "vcenter.pass"}" }}\n'
        )

    def settings(self, port: int | None = None) -> Settings:
        found = load_config(self.config, None).vcenter
        assert found is not None
        return found.model_copy(update={"port": port or self.lab.port})

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(COMMAND), "--config", str(self.config), "discover", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60)

    def run_inside(self, *arguments: str) -> Result:
        """Run the command in this process, where pages are small."""
        return CliRunner().invoke(app, ["--config", str(self.config), "discover", *arguments])

    def names(self, *filters: str) -> set[str]:
        done = self.run_inside("-o", "json", *filters)
        assert done.exit_code == 0, done.stderr
        return {vm["name"] for vm in json.loads(done.stdout)["vms"]}

    def calls(self) -> dict[str, int]:
        found: dict[str, int] = self.lab.http.get("/lab/calls").raise_for_status().json()["calls"]
        return found

    @contextmanager
    def pyvmomi(self) -> Iterator[Any]:
        context = session.trust(self.settings())
        service = SmartConnect(
            host="127.0.0.1", port=self.lab.port, user=vcenter.USER, pwd=PASSWORD, sslContext=context
        )
        try:
            yield service
        finally:
            Disconnect(service)


def start(folder: Path, inventory: dict[str, Any]) -> Iterator[Source]:
    lab = vcenter.start(folder, BINARY, choose_port(None), PASSWORD, inventory)
    try:
        yield Source(lab, folder)
    finally:
        lab.http.close()
        lab.part.stop()


class Cutter:
    """A TCP proxy before vCenter that resets all its connections once, when `after` bytes came from vCenter.

    With `pause` it lets them be, but for so many seconds nothing goes through.
    """

    def __init__(self, target: int, after: int, pause: float = 0.0) -> None:
        self._target, self._left, self._pause = target, after, pause
        self._open: list[socket.socket] = []
        self.cuts = 0
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()
        self._cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                threading.Thread(target=self._pump, args=(near, far, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(far, near, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, counted: bool) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 << 16):
                if counted and self._due(len(chunk)):
                    if not self._pause:
                        self._cut()
                        return
                    time.sleep(self._pause)
                target.sendall(chunk)

    def _due(self, length: int) -> bool:
        with self._lock:
            before, self._left = self._left, self._left - length
            return before >= 0 > self._left

    def _cut(self) -> None:
        self.cuts += 1
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
