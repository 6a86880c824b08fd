"""`python -m tests.fleet [SEED …]`: waves of 12 machines on 4 workers through many kills; writes .bench/fleet.json.

FLEET_ROUNDS waves (5); in each of them workers, the scheduler and the client are killed at random moments. Then a wave
between two network namespaces, as two hosts.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

from migratekit_core.services.waves.model import Limits
from tests.fleet import stage, storm, two_hosts
from tests.fleet.stage import MIB
from tests.lab.lab import ROOT, running

RESULTS = ROOT / ".bench" / "fleet.json"
LIMITS = Limits(esxi_host=2, datastore=3, vcenter=5, oma=6, bandwidth=24 * MIB)
KILLS = {storm.WORKER: 5, storm.SCHEDULER: 2, storm.CLIENT: 2}
SECONDS = 1500


def round_of(seed: int, folder: Path) -> dict[str, Any]:
    """Run a wave in a lab of its own through kills; return the report."""
    rng = random.Random(seed)
    with running(
        folder / "lab", preferred_ports=False, inventory=lambda images: stage.inventory(images, 24 * MIB)
    ) as lab:
        wave = stage.wave(lab, f"round-{seed}", LIMITS)
        path = stage.store(lab, folder, wave)
        with stage.fleet(lab, folder) as made:
            plan = storm.moments(rng, KILLS, 1, 60)
            done = storm.storm(made, wave, ["wave", "run", str(path)], plan, rng, SECONDS)
            print("\n".join(storm.lines(done)), flush=True)
            return {"seed": seed, **done.plain(), "restarts": sum(unit.restarts for unit in made.workers)}


def main(arguments: list[str]) -> int:
    """Run all rounds; stop at the first that fails."""
    seeds = [int(text) for text in arguments] or list(range(1, 1 + int(os.environ.get("FLEET_ROUNDS", "5"))))
    rounds: list[dict[str, Any]] = []
    RESULTS.parent.mkdir(exist_ok=True)
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="mk-fleet-") as folder:
            rounds.append(round_of(seed, Path(folder)))
        RESULTS.write_text(json.dumps({"rounds": rounds}, indent=1) + "\n")
    found: dict[str, Any] = {"rounds": rounds}
    if os.geteuid() == 0:
        with tempfile.TemporaryDirectory(prefix="mk-fleet-") as folder:
            found["two_hosts"] = two_hosts.run(Path(folder))
            print(f"two hosts: {found['two_hosts']}", flush=True)
    kills = [who for each in rounds for _, who in each["kills"]]
    found["kills"] = {who: kills.count(who) for who in KILLS}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(f"{len(rounds)} waves, {found['kills']} killed; {RESULTS.relative_to(ROOT)}", flush=True)
    return 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main(sys.argv[1:]))
