"""A simulated fleet: thousands of machines on real workers, whose transfer alone is replaced by a timed one.

The scheduler is the product's command in a process of its own, MariaDB is real, every connection is TLS. What is
measured is what the fleet adds: against the schedule that somebody would make who knows all durations and to whom
looking, deciding and telling cost nothing.
"""

from __future__ import annotations

import heapq
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from migratekit_core.adapters.tunnel import pki
from migratekit_core.common.files import write_private
from migratekit_core.config.load import load_config
from migratekit_core.db.engine import open_databases
from migratekit_core.services.fleet import runs
from migratekit_core.services.fleet.waiting import Waiting
from migratekit_core.services.waves import look, store
from migratekit_core.services.waves.model import Limits, Machine, Wave
from migratekit_core.services.waves.places import Places, needs
from tests.fleet.timed import BYTES_PER_SECOND
from tests.integration import database_server
from tests.lab.lab import COMMAND, ROOT, environment
from tests.lab.parts import process

LIMITS = Limits(esxi_host=4, datastore=8, vcenter=160, oma=80)
LEASE = 60
PARTS = 4
"""Processes that the workers are in: more than the cores of this machine."""


@dataclass(frozen=True)
class Size:
    """How big the simulated fleet is."""

    machines: int
    workers: int
    slots: int
    hosts: int
    stores: int
    vcenters: int
    omas: int
    mean: float
    """Seconds that a machine takes."""


BIG = Size(5000, 64, 4, 250, 125, 2, 20, 10.0)
"""As many OMAs as take a disk of each slot: 13 each."""
SMALL = Size(120, 8, 4, 10, 5, 2, 4, 1.0)


@dataclass(frozen=True)
class Result:
    """What was measured; times in seconds, sizes in bytes."""

    machines: int
    workers: int
    slots: int
    seconds: float
    ideal: float
    work: float
    """Of all machines, added up."""
    scheduler_cpu: float
    """Of the scheduler's process, driver included, while the wave ran."""
    workers_cpu: float
    scheduler_memory: int
    """The most that its process had."""
    memory_before: int
    attempts: int

    def plain(self) -> dict[str, Any]:
        """Return it with what follows of it."""
        beyond = self.seconds - self.ideal
        return {
            **asdict(self),
            "beyond_ideal": round(beyond, 2),
            "beyond_ideal_percent": round(100 * beyond / self.ideal, 1),
            "scheduler_cpu_ms_per_machine": round(1000 * self.scheduler_cpu / self.machines, 2),
            "workers_cpu_ms_per_machine": round(1000 * self.workers_cpu / self.machines, 2),
        }


def make_wave(size: Size, seed: int = 1) -> Wave:
    """Return a wave of machines that take times as machines do: most are small, a few are big."""
    rng = random.Random(seed)
    names = [rng.lognormvariate(0, 0.6) for _ in range(size.machines)]
    scale = size.mean * size.machines / sum(names)
    found = []
    for number, weight in enumerate(names):
        vcenter = f"vc{number % size.vcenters}"
        found.append(
            Machine(
                name=f"vm{number:05}", uuid=f"00000000-0000-0000-0000-{number:012}", vcenter=vcenter,
                oma=f"oma{rng.randrange(size.omas)}", host=f"esx{rng.randrange(size.hosts):03}",
                datastores=(f"store{rng.randrange(size.stores):03}",), disks=1,
                data_bytes=int(weight * scale * BYTES_PER_SECOND),
            )
        )  # fmt: skip
    return Wave(name="simulated", machines=tuple(found), limits=LIMITS)


def ideal(wave: Wave, slots: int) -> float:
    """Return how long it takes whoever begins the next machine the moment that there is room for it."""
    wanted = {machine.uuid: needs(machine, wave.limits, "replicate") for machine in wave.machines}
    lasts = {machine.uuid: machine.data_bytes / BYTES_PER_SECOND for machine in wave.machines}
    waiting, places, now = Waiting(wanted), Places(), 0.0
    waiting.add(wanted)
    busy: list[tuple[float, str]] = []
    while waiting or busy:
        while len(busy) < slots and (found := waiting.take(places)) is not None:
            places.take(found[1])
            heapq.heappush(busy, (now + lasts[found[0]], found[0]))
        now, ended = heapq.heappop(busy)
        places.give(wanted[ended])
        waiting.freed(wanted[ended])
    return now


def _wait(path: Path, words: str, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while words not in path.read_text():
        assert running.poll() is None and time.monotonic() < deadline, path.read_text()
        time.sleep(0.1)


def measure(folder: Path, size: Size, seconds: float = 1200) -> Result:
    """Run a simulated wave."""
    wave = make_wave(size)
    (folder / "db").mkdir()
    with database_server.running(folder / "db") as server:
        certificates = folder / "pki"
        pki.init(certificates)
        for role in ("scheduler", "worker"):
            pki.issue(certificates, role, server=False, names=[], fleet=role)
        port, dashboard = process.choose_port(None), process.choose_port(None)
        configs = {}
        for role in ("scheduler", "worker"):
            configs[role] = folder / f"{role}.toml"
            write_private(configs[role], _config(server, certificates, role, port, dashboard, size.slots))
        engine = open_databases(load_config(configs["worker"], environ={}).database).oma
        store.create(engine, wave)
        with _Split(configs, size, folder) as (scheduler, hosts):
            before, memory = _cpu(scheduler.pid), _memory(scheduler.pid, "VmRSS")
            used = [_cpu(host.pid) for host in hosts]
            began = time.monotonic()
            runs.ask(engine, wave.name, runs.Asked("run"))
            while not (found := runs.of(engine, wave.name)).over:
                assert time.monotonic() - began < seconds, (folder / "scheduler.log").read_text()[-3000:]
                time.sleep(0.5)
            took = time.monotonic() - began
            seen = look.snapshot(engine, wave.name)
            assert dict(seen.counts) == {"replicated": size.machines}, seen.counts
            assert not found.failed
            # The driver's last look comes some seconds after the last machine has ended.
            last = max(each.ended_at for each in seen.machines) - min(each.started_at for each in seen.machines)
            return Result(
                size.machines, size.workers, size.slots, round(min(took, last.total_seconds()), 2),
                round(ideal(wave, size.workers * size.slots), 2),
                round(sum(machine.data_bytes for machine in wave.machines) / BYTES_PER_SECOND, 1),
                round(_cpu(scheduler.pid) - before, 2),
                round(sum(_cpu(host.pid) for host in hosts) - sum(used), 2),
                _memory(scheduler.pid, "VmHWM"), memory, sum(each.attempts for each in seen.machines),
            )  # fmt: skip


class _Split:
    """The scheduler with its certificate, the workers with theirs."""

    def __init__(self, configs: dict[str, Path], size: Size, folder: Path) -> None:
        self._configs, self._size, self._folder = configs, size, folder
        self._units: list[subprocess.Popen[str]] = []

    def __enter__(self) -> tuple[subprocess.Popen[str], list[subprocess.Popen[str]]]:
        env = {**environment(), "PYTHONPATH": str(ROOT)}
        self._log = (self._folder / "scheduler.log").open("w")
        scheduler = subprocess.Popen(
            [str(COMMAND), "--config", str(self._configs["scheduler"]), "fleet", "scheduler"],
            env=env, stdout=self._log, stderr=self._log, text=True,
        )  # fmt: skip
        self._units.append(scheduler)
        _wait(self._folder / "scheduler.log", "listens", scheduler)
        each = self._size.workers // PARTS
        hosts = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.fleet.timed", str(self._configs["worker"]), str(each)],
                env=env, cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log, text=True,
            )
            for _ in range(PARTS)
        ]  # fmt: skip
        self._units += hosts
        for host in hosts:
            assert host.stdout is not None
            assert host.stdout.readline() == "ready\n", (self._folder / "scheduler.log").read_text()
        return scheduler, hosts

    def __exit__(self, *_: object) -> None:
        for each in reversed(self._units):
            each.kill()
            each.wait()
        self._log.close()


def _config(server: Any, certificates: Path, role: str, port: int, dashboard: int, slots: int) -> str:
    return f"""
[database]
kind = "mariadb"
port = {server.port}
password = {{ file = "{server.secret}" }}

[fleet]
scheduler = "127.0.0.1:{port}"
listen = "127.0.0.1:{port}"
worker_listen = "127.0.0.1:0"
ca_file = "{certificates}/ca.pem"
cert_file = "{certificates}/{role}.pem"
crl_file = "{certificates}/crl.pem"
dashboard_port = {dashboard}
slots = {slots}
lease = "{LEASE}s"
"""


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)
