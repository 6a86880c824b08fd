"""A vCenter with the estate of odd machines, started once for all tests that assess it."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect, SmartConnect

from migratekit_core.common.files import write_private
from tests.integration import estate
from tests.lab.lab import BINARY, COMMAND, environment
from tests.lab.parts import process, vcenter

PASSWORD = "correct horse"


@dataclass
class Estate:
    """A vCenter with the estate, and the command line against it."""

    vcenter: vcenter.VCenter
    config: Path
    folder: Path

    def run(self, *arguments: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the command line."""
        return subprocess.run(
            [str(COMMAND), "--config", str(config or self.config), *arguments],
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def report(self, *arguments: str) -> dict[str, Any]:
        """Run an assessment and return its JSON, whatever was found."""
        done = self.run("assess", *arguments, "-o", "json")
        assert done.returncode in (0, 3), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def logged_in(centre: vcenter.VCenter) -> Iterator[Any]:
    """Log in as somebody else would, and yield pyVmomi's service instance."""
    trust = ssl.create_default_context(cafile=str(centre.ca))
    service = SmartConnect(host="127.0.0.1", port=centre.port, user=vcenter.USER, pwd=PASSWORD, sslContext=trust)
    try:
        yield service
    finally:
        Disconnect(service)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A vCenter with the estate."""
    run = tmp_path_factory.mktemp("estate")
    try:
        centre = vcenter.start(run, BINARY, process.choose_port(None), PASSWORD, estate.inventory())
        with logged_in(centre) as service:
            estate.make_odd(centre, service)
        write_private(run / "vcenter.secret", PASSWORD)
        config = run / "config.toml"
        write_private(
            config,
            f"""\
[vcenter]
host = "127.0.0.1"
port = {centre.port}
user = "{vcenter.USER}"
password = {{ file = "{run}/vcenter.secret" }}
ca_file = "{centre.ca}"

[networks]
test = "migration-test"

[networks.map]
"VM Network" = "guest-prod"
""",
        )
        yield Estate(centre, config, run)
    finally:
        process.end_all(run)
