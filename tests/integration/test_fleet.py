"""A fleet of real processes: a wave through kills, refusals, a frozen worker, and a cut-over that is taken back.

All kinds of kills, many of each: `nox -s fleet_matrix` (tests/fleet).
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.adapters.tunnel import pki
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.files import write_private
from migratekit_core.services.waves.model import Limits, Pass, Wave
from tests.fleet import refusals, stage, storm
from tests.fleet.stage import MIB, Fleet
from tests.fleet.watch import processes, watching
from tests.integration.support import eventually, finished, identical, refused, run, setting, sql, started
from tests.lab.lab import COMMAND, Lab, running

MACHINES = 6
LIMITS = Limits(esxi_host=1, datastore=2, vcenter=4, oma=3, bandwidth=24 * MIB)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: the shared one's OMA has not so many slots to give."""
    folder = tmp_path_factory.mktemp("fleet-lab") / "run"
    with running(
        folder, preferred_ports=False, inventory=lambda images: stage.inventory(images, 8 * MIB, MACHINES)
    ) as made:
        yield made


BEGUN = """SELECT DISTINCT vm_name FROM wave_vms JOIN wave_attempts ON wave_attempts.machine_id = wave_vms.id
JOIN waves ON waves.id = wave_vms.wave_id
WHERE waves.name = 'stormed' AND wave_attempts.task = 'cutover' AND wave_attempts.outcome IN ('done', 'failed')"""
"""The machines whose cut-over came to an end, and was not given back before it had done anything."""
ALONE = {"MIGRATEKIT_FLEET__SLOTS": "1", "MIGRATEKIT_FLEET__LEASE": "6"}


def test_without_a_fleet_the_command_does_it_all_and_is_steered_from_elsewhere(lab: Lab, tmp_path: Path) -> None:
    """Ctrl-C leaves checkpoints; a second command is refused; a cancel from another terminal ends it."""
    # Slow enough that the first machine is still being copied when the last of these commands has had its say.
    wave = stage.wave(lab, "alone", Limits(esxi_host=1, bandwidth=MIB // 16), 2)
    path = str(stage.store(lab, tmp_path, wave))
    with started(lab, "wave", "run", path, **ALONE) as first:
        eventually("a machine is copied", lambda: processes(lab), 120)
        first.send_signal(signal.SIGINT)
        done = finished(first)
    assert done.returncode == 130, done.stderr
    assert "nothing of it goes on" in done.stderr
    assert processes(lab) == []
    said = run(lab, "fleet", "status").stdout
    assert f"wave alone: replicate; nobody drives it now (the last was {socket.gethostname()}:{first.pid})" in said
    assert "migratekit wave run alone" in said
    with started(lab, "wave", "run", "alone", **ALONE) as second:
        eventually("it goes on", lambda: processes(lab), 120)
        assert f"driven by {socket.gethostname()}:{second.pid}" in run(lab, "fleet", "status").stdout
        said = refused(lab, run(lab, "wave", "run", "alone", **ALONE), 8, ErrorCode.ALREADY_RUNNING)
        assert "the fleet has a driver already" in said
        assert run(lab, "wave", "cancel", "alone", "--yes").returncode == 0
        done = finished(second)
    assert done.returncode == 1, done.stderr
    assert "cancelled by" in done.stdout
    assert {row["state"] for row in storm.rows_of(lab, "alone")} == {"cancelled"}
    assert processes(lab) == []


@pytest.fixture(scope="module")
def fleet(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with stage.fleet(lab, tmp_path_factory.mktemp("fleet"), workers=3) as made:
        yield made


@pytest.fixture(scope="module")
def stormed(fleet: Fleet, lab: Lab) -> Wave:
    """The wave, replicated while a worker, the scheduler and the client are killed."""
    wave = stage.wave(lab, "stormed", LIMITS, MACHINES, must_pass=Pass(abort_below=80))
    path = stage.store(lab, fleet.folder, wave)
    rng = random.Random(5)
    kills = {storm.WORKER: 1, storm.SCHEDULER: 1, storm.CLIENT: 1}
    plan = storm.moments(rng, kills, 2, 9)
    done = storm.storm(fleet, wave, ["wave", "run", str(path)], plan, rng, 600)
    print("\n".join(storm.lines(done)))
    assert {who for _, who in done.kills} == set(kills), "it was over before everybody was killed"
    assert done.most["host:default/esx0"] == 1
    assert done.most["oma:default"] <= 3
    return wave


def migratekit(fleet: Fleet, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), "--config", str(fleet.config), *arguments],
        **{"env": setting(fleet.lab), "stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": 300,
           "check": False, **options},
    )  # fmt: skip


def test_a_wave_survives_the_death_of_a_worker_the_scheduler_and_the_client(stormed: Wave, lab: Lab) -> None:
    # storm() has checked it all: once each, identical, no limit exceeded, nothing held.
    states = {row["vm_name"]: row["state"] for row in storm.rows_of(lab, "stormed")}
    assert states == {machine.name: "replicated" for machine in stormed.machines}


def test_only_the_one_port_faces_the_network(fleet: Fleet, stormed: Wave) -> None:
    for unit in (fleet.scheduler, *fleet.workers):
        addresses = refusals.listening(unit.pid)
        # The stage has it all on loopback; what matters is that nothing else listens: dashboards are on 127.0.0.1.
        assert all(address.startswith("127.0.0.1:") for address in addresses), addresses
    seen = report_fleet(fleet)
    assert seen["dashboard"].startswith("http://127.0.0.1:")
    metrics = refusals.get(seen["dashboard"].replace("/status", "/metrics"))
    assert "dask_scheduler_workers" in metrics
    assert 'semaphore_max_leases{name="oma:default"} 3.0' in metrics


def test_whoever_is_not_of_the_fleet_is_refused(fleet: Fleet, lab: Lab, tmp_path: Path) -> None:
    found = refusals.all_of_them(fleet, tmp_path)
    assert found == dict.fromkeys(found, "refused"), found
    assert {"plain", "no certificate", "another CA", "the tunnel's", "revoked", "a worker's at a worker"} <= set(found)
    # The control: the same ways in with the right certificate.
    assert refusals.control(fleet) == "let in"


def test_what_is_told_to_a_worker_that_is_refused(fleet: Fleet, lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "pki"
    pki.init(other)
    pki.issue(other, "worker", server=False, names=[], fleet="worker")
    config = tmp_path / "other.toml"
    text = (fleet.folder / "worker.toml").read_text().replace(str(fleet.folder / "fleet-pki"), str(other))
    write_private(config, text)
    done = migratekit(fleet, "--config", str(config), "fleet", "worker")
    assert done.returncode == 5, done.stderr
    assert "the scheduler's certificate is of another CA" in done.stderr
    tunnel = tmp_path / "tunnel.toml"
    write_private(tunnel, text.replace(f"{other}/worker.pem", f"{other}/vma.pem"))
    done = migratekit(fleet, "--config", str(tunnel), "fleet", "worker")
    assert done.returncode == 5
    assert "names no part in a fleet" in done.stderr


def report_fleet(fleet: Fleet) -> dict[str, Any]:
    done = migratekit(fleet, "fleet", "status", "-o", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["fleet"]
    return found


def test_a_worker_that_was_only_slow_never_works_beside_its_successor(fleet: Fleet, lab: Lab) -> None:
    """A worker is frozen: its machines end by themselves, others take them over, and what it says later is refused."""
    wave = stage.wave(lab, "frozen", LIMITS, 2)
    for row in storm.rows_of(lab, "stormed"):
        sql(lab, "UPDATE wave_vms SET state = 'cut-over' WHERE id = %s", row["id"])
    try:
        _frozen(fleet, lab, wave)
    finally:
        sql(lab, "UPDATE wave_vms JOIN waves ON waves.id = wave_id SET state = 'replicated' WHERE name = 'stormed'")


def _frozen(fleet: Fleet, lab: Lab, wave: Wave) -> None:
    for machine in wave.machines:
        lab.vcenter.new_epoch(machine.name)
    path = stage.store(lab, fleet.folder, wave)
    with watching(lab, wave) as counts:
        assert migratekit(fleet, "wave", "run", str(path), "--detach").returncode == 0
        [first, *_] = eventually("somebody works", lambda: processes(lab), 60)
        unit = eventually("whose", lambda: [u for u in fleet.workers if u.pid == first.parent], 10)[0]
        os.kill(unit.pid, signal.SIGSTOP)
        try:
            eventually("its machine has ended by itself", lambda: first not in processes(lab), 3 * stage.LEASE + 30)
            done = migratekit(fleet, "wave", "run", "frozen")
            assert done.returncode == 0, done.stderr
        finally:
            os.kill(unit.pid, signal.SIGCONT)
    assert counts.violations == []
    time.sleep(2)
    found = sql(lab, storm.ATTEMPTS, "frozen")
    assert sorted(row["outcome"] for row in found if row["outcome"] == "done") == ["done", "done"]
    assert "lost" in {row["outcome"] for row in found}
    for machine in wave.machines:
        identical(lab, machine.name)
    sql(lab, "UPDATE wave_vms JOIN waves ON waves.id = wave_id SET state = 'cut-over' WHERE name = 'frozen'")


def test_a_cut_over_below_the_threshold_is_rolled_back(fleet: Fleet, lab: Lab, stormed: Wave) -> None:
    """One of six cannot be shut down, and 90 % were asked for: what is over comes back, and no more is begun."""
    victim = stormed.machines[-1].name
    lab.vcenter.fault(method="ShutdownGuest", object=lab.vcenter.vm(victim)["id"], fault="NotSupported", max=0)
    try:
        done = migratekit(fleet, "wave", "cutover", "stormed", "--no-rehearse", "--abort-below", "90%", "--yes")
    finally:
        lab.vcenter.clear_faults()
    assert done.returncode == 1, done.stdout + done.stderr
    assert "rolled back" in done.stdout
    states = {row["vm_name"]: row["state"] for row in storm.rows_of(lab, "stormed")}
    begun = {row["vm_name"] for row in sql(lab, BEGUN)}
    assert victim in begun and len(begun) > 1, begun
    assert states == {vm: "rolled-back" if vm in begun else "replicated" for vm in states}
    assert all(lab.vcenter.vm(machine.name)["power"] == "on" for machine in stormed.machines)
    assert [vm["name"] for vm in lab.cloud.state()["virtualmachines"]] == ["oma01"]
