"""A lab with machines for a wave, a fleet's certificates, and its processes, started again as systemd does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migratekit_core.adapters.tunnel import pki
from migratekit_core.common.files import write_private
from migratekit_core.services.waves import files
from migratekit_core.services.waves.model import Limits, Machine, Wave
from tests.integration.machines import machine, random_disk
from tests.integration.support import eventually, report, setting
from tests.lab.guest import Images
from tests.lab.lab import COMMAND, Lab
from tests.lab.parts import process

MIB = 1 << 20
MACHINES = 12
HOSTS, STORES = 3, 2
LEASE = 6.0
RESTART_SECONDS = 0.5


def name_of(number: int) -> str:
    """Return a machine's name."""
    return f"wave{number:02}"


def inventory(images: Images, size: int, count: int = MACHINES) -> dict[str, Any]:
    """Return machines with a disk of random data each."""
    vms = [machine(name_of(n), random_disk(images, name_of(n), size + n * 512)) for n in range(1, count + 1)]
    return {"vms": vms}


def wave(lab: Lab, name: str, limits: Limits, count: int = MACHINES, **more: Any) -> Wave:
    """Return a wave of the lab's machines, spread over hosts and datastores."""
    seen = {vm["name"]: vm for vm in report(lab, "discover")["vms"]}
    found = []
    for n in range(1, count + 1):
        vm = seen[name_of(n)]
        size = sum(disk["capacity_bytes"] for disk in vm["disks"])
        found.append(
            Machine(
                name=vm["name"], uuid=vm["uuid"], moref=vm["moref"], path=vm["path"], host=f"esx{n % HOSTS}",
                datastores=(f"store{n % STORES}",), disks=len(vm["disks"]), capacity_bytes=size, data_bytes=size,
                stage=1 + (n > count // 2),
            )
        )  # fmt: skip
    return Wave(name=name, machines=tuple(found), limits=limits, **more)


@dataclass
class Unit:
    """A process that is started again when it ends, as `Restart=always` does."""

    name: str
    command: list[str]
    env: dict[str, str]
    log: Path
    enter: Any = contextlib.nullcontext
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Start it, and keep it up."""
        self._spawn()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()

    def _spawn(self) -> None:
        with self.enter(), self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _keep(self) -> None:
        while not self._stop.wait(0.05):
            assert self.process is not None
            if self.process.poll() is not None:
                if self._stop.wait(RESTART_SECONDS):
                    return
                self.restarts += 1
                self._spawn()

    @property
    def pid(self) -> int:
        """Return the process that runs now."""
        assert self.process is not None
        return self.process.pid

    def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it for good."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(5)
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass
class Fleet:
    """A scheduler and workers."""

    lab: Lab
    folder: Path
    port: int
    config: Path
    scheduler: Unit
    workers: list[Unit]

    def wait(self) -> None:
        """Wait until all workers take part."""
        eventually(
            "all workers take part",
            lambda: all("takes part" in unit.log.read_text() for unit in self.workers),
            180,
        )

    def wait_for_scheduler(self) -> None:
        """Wait until the scheduler that runs now answers, and the workers take part again."""
        command = [str(COMMAND), "--config", str(self.config), "fleet", "status", "-o", "json"]

        def up() -> bool:
            done = subprocess.run(
                command, env=setting(self.lab), capture_output=True, text=True, check=False, timeout=60
            )
            return done.returncode == 0 and len(json.loads(done.stdout)["fleet"]["workers"]) == len(self.workers)

        eventually("scheduler and workers are up again", up, 180)

    def text(self) -> str:
        """Return all logs."""
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))


def fleet_table(folder: Path, port: int, name: str, host: str = "127.0.0.1", slots: int = 2) -> str:
    """Return the [fleet] table of one host."""
    return f"""
[fleet]
scheduler = "{host}:{port}"
listen = "{host}:{port}"
worker_listen = "{host}:0"
ca_file = "{folder}/ca.pem"
cert_file = "{folder}/{name}.pem"
crl_file = "{folder}/crl.pem"
dashboard_port = {process.choose_port(None)}
slots = {slots}
lease = "{LEASE:g}s"
"""


@contextmanager
def fleet(lab: Lab, folder: Path, workers: int = 4, slots: int = 2) -> Iterator[Fleet]:
    """Run a fleet beside the lab."""
    certificates = folder / "fleet-pki"
    pki.init(certificates)
    port = process.choose_port(None)
    configs = {}
    for role in ("scheduler", "worker", "client"):
        pki.issue(certificates, role, server=False, names=[], fleet=role)
        configs[role] = folder / f"{role}.toml"
        write_private(configs[role], lab.config.read_text() + fleet_table(certificates, port, role, slots=slots))
    env = setting(lab)

    def unit(name: str, role: str, *arguments: str) -> Unit:
        command = [str(COMMAND), "--config", str(configs[role]), "fleet", role, *arguments]
        return Unit(name, command, env, folder / f"{name}.log", lab.sides.vma)

    made = Fleet(
        lab, folder, port, configs["client"], unit("scheduler", "scheduler"),
        [unit(f"worker{n}", "worker") for n in range(1, workers + 1)],
    )  # fmt: skip
    units = [made.scheduler, *made.workers]
    try:
        for each in units:
            each.start()
        made.wait()
        yield made
    finally:
        for each in reversed(units):
            if each.process is not None:
                each.stop()


def store(lab: Lab, folder: Path, made: Wave) -> Path:
    """Write a wave's file."""
    path = folder / f"{made.name}.yaml"
    files.save(made, path)
    return path
