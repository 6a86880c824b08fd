"""A wave that is replicated while somebody kills its workers, its scheduler and its client, and what has to be true."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from migratekit_core.services.waves.model import Wave
from tests.fleet.stage import LEASE, Fleet
from tests.fleet.watch import Counts, processes, watching
from tests.integration.support import eventually, identical, nothing_left, setting, sql
from tests.lab.lab import COMMAND, Lab

WORKER, SCHEDULER, CLIENT = "worker", "scheduler", "client"


@dataclass
class Report:
    """What came of a storm; times in seconds."""

    wave: str
    seconds: float = 0.0
    kills: list[tuple[float, str]] = field(default_factory=list)
    """When, since the begin, and whom."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """Of attempts."""
    most: dict[str, int] = field(default_factory=dict)
    limits: dict[str, int | None] = field(default_factory=dict)
    looks: int = 0
    most_machines: int = 0
    most_granted: int = 0
    most_written: float = 0.0
    bandwidth: int | None = None
    log: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


class Client:
    """`wave run` in a process; started again when it was killed."""

    def __init__(self, made: Fleet, arguments: list[str], folder: Path) -> None:
        self._command = [str(COMMAND), "--config", str(made.config), *arguments]
        self._lab = made.lab
        self.log = folder / "client.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log, self._lab.sides.vma():
            return subprocess.Popen(
                self._command, env=setting(self._lab), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """Kill it, and start another one."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()


def moments(rng: random.Random, kills: dict[str, int], begin: float, end: float) -> list[tuple[float, str]]:
    """Return who is killed when, at random."""
    whom = [who for who, number in kills.items() for _ in range(number)]
    rng.shuffle(whom)
    return sorted((rng.uniform(begin, end), who) for who in whom)


def storm(
    made: Fleet, wave: Wave, arguments: list[str], plan: list[tuple[float, str]], rng: random.Random, seconds: float
) -> Report:
    """Run a wave's command through all kills, and check everything. The moments of `plan` count from when the first
    machine is worked on."""
    lab, report = made.lab, Report(wave.name)
    report.limits = {"host": wave.limits.esxi_host, "datastore": wave.limits.datastore,
                     "vcenter": wave.limits.vcenter, "oma": wave.limits.oma}  # fmt: skip
    report.bandwidth = wave.limits.bandwidth
    client = Client(made, arguments, made.folder)
    began = time.monotonic()
    with watching(lab, wave) as counts:
        try:
            left = iter(plan)
            due = next(left, None)
            eventually("the first machine is worked on", lambda: processes(lab) or client.process.poll(), 180)
            first = time.monotonic()
            while client.process.poll() is None:
                passed = time.monotonic() - began
                assert passed < seconds, f"not over after {seconds:.0f} s\n{client.log.read_text()}\n{made.text()}"
                if due is not None and time.monotonic() - first >= due[0]:
                    _kill(made, client, due[1], rng)
                    report.kills.append((round(passed, 1), due[1]))
                    due = next(left, None)
                time.sleep(0.05)
        finally:
            client.process.kill()
            code = client.process.wait()
    report.seconds = round(time.monotonic() - began, 1)
    report.log = client.log.read_text()
    assert code == 0, f"exit {code}\n{report.log}\n{made.text()}"
    _take(report, counts)
    assert counts.violations == [], _told(made, wave, report, counts)
    assert counts.looks > 20
    check(made, wave)
    found = sql(lab, ATTEMPTS, wave.name)
    report.outcomes = dict(Counter(row["outcome"] or "open" for row in found))
    return report


ATTEMPTS = """SELECT wave_vms.vm_name, wave_attempts.task, wave_attempts.outcome, wave_attempts.worker,
    wave_attempts.started_at, wave_attempts.ended_at FROM wave_attempts
    JOIN wave_vms ON wave_vms.id = wave_attempts.machine_id JOIN waves ON waves.id = wave_vms.wave_id
    WHERE waves.name = %s"""


def check(made: Fleet, wave: Wave) -> None:
    """Check that each machine was replicated once, and is identical; that nothing is held or left over."""
    lab = made.lab
    found = sql(lab, ATTEMPTS, wave.name)
    done = Counter((row["vm_name"], row["task"]) for row in found if row["outcome"] == "done")
    assert done == Counter({(machine.name, "replicate"): 1 for machine in wave.machines}), done
    assert [row for row in found if row["outcome"] is None] == []
    assert processes(lab) == []
    for machine in wave.machines:
        identical(lab, machine.name)
    eventually("no lease is held", lambda: _nothing_held(made), 4 * LEASE + 30)
    eventually("no share is held", lambda: not sql(lab, "SELECT token FROM fleet_grants WHERE token <> ''"), 60)
    # What a killed process's jobs left open is closed by the next command on this host.
    assert lab.migratekit("jobs", "list", "--limit", "1").returncode == 0
    nothing_left(lab, *(machine.name for machine in wave.machines))


def _nothing_held(made: Fleet) -> bool:
    done = subprocess.run(
        [str(COMMAND), "--config", str(made.config), "fleet", "status", "-o", "json"],
        env=setting(made.lab), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode != 0:
        return False  # the scheduler is being started again
    return all(taken == 0 for taken, _ in json.loads(done.stdout)["fleet"]["leases"].values())


def _kill(made: Fleet, client: Client, whom: str, rng: random.Random) -> None:
    if whom == CLIENT:
        client.kill()
    elif whom == SCHEDULER:
        made.scheduler.kill()
    else:
        # One that has machines, if there is one: an idle one's death is none.
        busy = {each.parent for each in processes(made.lab)}
        rng.choice([unit for unit in made.workers if unit.pid in busy] or made.workers).kill()


def _take(report: Report, counts: Counts) -> None:
    report.most, report.looks = dict(sorted(counts.most.items())), counts.looks
    report.most_machines, report.most_granted = counts.most_machines, counts.most_granted
    report.most_written = round(counts.most_written)


def _told(made: Fleet, wave: Wave, report: Report, counts: Counts) -> str:
    """Return what one needs to know to find out how it came to a violation."""
    rows = sql(made.lab, ATTEMPTS, wave.name)
    parts = [*counts.violations[:8], f"kills: {report.kills}", *map(str, rows), report.log, made.text()]
    return "\n".join(parts)


def lines(report: Report) -> Iterator[str]:
    """Yield a report for people."""
    yield f"wave {report.wave}: {report.seconds} s, kills {report.kills}, attempts {report.outcomes}"
    yield f"  most at a time ({report.looks} looks): {report.most_machines} machines, {report.most}"
    yield f"  limits {report.limits}"
    yield f"  most granted {report.most_granted}, most written {report.most_written} of {report.bandwidth} B/s"


def rows_of(lab: Lab, wave: str) -> list[dict[str, Any]]:
    """Return a wave's machines as the database has them."""
    query = "SELECT wave_vms.* FROM wave_vms JOIN waves ON waves.id = wave_vms.wave_id WHERE waves.name = %s"
    return sql(lab, query, wave)
