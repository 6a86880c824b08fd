"""A fleet on two hosts: two network namespaces and a link; the scheduler and a worker in one, a worker in the other.

The lab is in the first one. The second host reaches vCenter and the tunnel through relays on its own loopback, as if it
were in the same building; what goes between the parts of the fleet goes over the link. A cut link is a worker that is
cut off from everything at once.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from migratekit_core.adapters.tunnel import pki
from migratekit_core.common.files import write_private
from migratekit_core.services.waves.model import Limits
from tests.fleet import stage, storm
from tests.fleet.stage import MIB, Fleet, Unit
from tests.fleet.watch import processes, watching
from tests.integration.support import eventually, identical, setting, sql
from tests.lab.lab import COMMAND, running
from tests.lab.parts import process
from tests.wire.namespaces import OMA_ADDRESS, VMA_ADDRESS, Relay, Wire, wire
from tests.wire.scan import scan

MACHINES = 4
LIMITS = Limits(esxi_host=2, datastore=None, vcenter=4, oma=4, bandwidth=4 * MIB)


class Here:
    """Where the lab runs: the first host."""

    def __init__(self, link: Wire) -> None:
        self._link = link
        self.address = "127.0.0.1"

    def vma(self) -> Any:
        """Be there."""
        return self._link.vma()

    oma = vma


def run(folder: Path) -> dict[str, Any]:
    """Run a wave on both hosts, cut the link in its middle, mend it; return what was seen."""
    with wire() as link:
        here = Here(link)
        with running(
            folder / "lab", preferred_ports=False, sides=here,  # type: ignore[arg-type]
            inventory=lambda images: stage.inventory(images, 24 * MIB, MACHINES),
        ) as lab:  # fmt: skip
            # The relays: vCenter, the tunnel's port and CloudStack, on the second host's loopback.
            relays = [Relay(link.oma(), link.vma_name, lab.ports[name]) for name in ("vcenter", "tunnel", "cloud")]
            try:
                return _run(folder, link, lab)
            finally:
                for relay in relays:
                    relay.close()


def _run(folder: Path, link: Wire, lab: Any) -> dict[str, Any]:
    certificates = folder / "fleet-pki"
    pki.init(certificates)
    with link.vma():
        port = process.choose_port(None)
    hosts = {"scheduler": VMA_ADDRESS, "worker1": VMA_ADDRESS, "worker2": OMA_ADDRESS, "client": VMA_ADDRESS}
    configs = {}
    for name, address in hosts.items():
        pki.issue(certificates, name, server=False, names=[], fleet=name.rstrip("12"))
        table = stage.fleet_table(certificates, port, name, VMA_ADDRESS)
        table = table.replace(f'worker_listen = "{VMA_ADDRESS}:0"', f'worker_listen = "{address}:0"')
        text = lab.config.read_text().replace(f'"{lab.sockets}/vma"', f'"{lab.sockets}/{name}"')
        configs[name] = folder / f"{name}.toml"
        write_private(configs[name], text + table)

    def unit(name: str, role: str, side: Any) -> Unit:
        command = [str(COMMAND), "--config", str(configs[name]), "fleet", role]
        return Unit(name, command, setting(lab), folder / f"{name}.log", side)

    made = Fleet(
        lab, folder, port, configs["client"], unit("scheduler", "scheduler", link.vma),
        [unit("worker1", "worker", link.vma), unit("worker2", "worker", link.oma)],
    )  # fmt: skip
    wave = stage.wave(lab, "two-hosts", LIMITS, MACHINES)
    path = stage.store(lab, folder, wave)
    units = [made.scheduler, *made.workers]
    try:
        for each in units:
            each.start()
        made.wait()
        open_ports = _open_ports(link)
        seen = _through_a_cut(made, link, wave, path)
    finally:
        for each in reversed(units):
            each.stop()
    return {"open_ports": open_ports, "scheduler": port, **seen}


def _open_ports(link: Wire) -> dict[str, list[int]]:
    """Return which ports of each host answer from the other."""
    with link.oma():
        first = scan(VMA_ADDRESS).open
    with link.vma():
        second = scan(OMA_ADDRESS).open
    return {"first": first, "second": second}


def _through_a_cut(made: Fleet, link: Wire, wave: Any, path: Path) -> dict[str, Any]:
    lab, began = made.lab, time.monotonic()
    client = storm.Client(made, ["wave", "run", str(path)], made.folder)
    with watching(lab, wave) as counts:
        try:
            far = made.workers[1]
            eventually("the second host works", lambda: _of(made, far), 120)
            link.cut()
            # Cut off from scheduler and database: its machines end, and the first host takes them over.
            eventually("its machines have ended", lambda: not _of(made, far), 4 * stage.LEASE + 30)
            cut = time.monotonic() - began
            time.sleep(stage.LEASE)
            link.mend()
            assert client.process.wait(600) == 0, client.log.read_text()
        finally:
            client.process.kill()
    assert counts.violations == [], counts.violations[:3]
    found = sql(lab, storm.ATTEMPTS, wave.name)
    outcomes = [row["outcome"] for row in found]
    assert outcomes.count("done") == len(wave.machines), outcomes
    assert "lost" in outcomes or "given-back" in outcomes
    for machine in wave.machines:
        identical(lab, machine.name)
    by = {row["worker"] for row in sql(lab, "SELECT DISTINCT worker FROM wave_attempts")}
    return {
        "seconds": round(time.monotonic() - began, 1), "cut_after": round(cut, 1), "workers": len(by),
        "outcomes": {each: outcomes.count(each) for each in set(outcomes)}, "most": dict(counts.most),
    }  # fmt: skip


def _of(made: Fleet, unit: Unit) -> bool:
    return any(each.parent == unit.pid for each in processes(made.lab))
