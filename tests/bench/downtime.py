"""The downtime of a failover by step, where each of CloudStack's jobs takes its time: `python -m tests.bench.downtime`.

A machine with 2 disks and one with 5 are replicated, then failed over with SECONDS (5) for each job. Prints a table,
and adds it to .bench/downtime.json under LABEL.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.integration.machines import machine, random_disk
from tests.lab.guest import Images
from tests.lab.lab import LAB, ROOT, Lab, running

RESULTS = ROOT / ".bench" / "downtime.json"
MIB = 1 << 20
MACHINES = {"two01": 2, "five01": 5}
"""How many disks each has."""
WITHOUT = "boot-check"
"""What the guest takes is not CloudStack's."""


def main() -> int:
    """Measure, print, write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.downtime", description=__doc__)
    parser.add_argument("--label", default="now", help="under which the figures are written down")
    parser.add_argument("--seconds", type=float, default=5.0, help="that a job of CloudStack takes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="downtime-", dir=LAB) as folder:
        measured = measure(Path(folder), options.seconds)
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    known[options.label] = measured
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    for name, steps in measured.items():
        print(f"{name} ({MACHINES[name]} disks), {options.seconds:g} s a job")
        for step, seconds in steps.items():
            print(f"  {step:<18}{seconds:>7.1f} s")
        total = sum(seconds for step, seconds in steps.items() if step != WITHOUT)
        print(f"  {f'all but {WITHOUT}':<18}{total:>7.1f} s", flush=True)
    return 0


def measure(folder: Path, seconds: float) -> dict[str, dict[str, float]]:
    """Return the seconds of each step of each machine's downtime."""
    found: dict[str, dict[str, float]] = {}
    with running(folder / "run", preferred_ports=False, inventory=_inventory) as lab:
        for name in MACHINES:
            lab.cloud.settings(job_seconds=0.1)
            _json(lab, "replicate", name)
            _json(lab, "replicate", name)
            lab.cloud.settings(job_seconds=seconds)
            done = _json(lab, "failover", name, "--yes")
            steps: dict[str, float] = {}
            for span in done["downtime"]:
                steps[span["step"]] = round(steps.get(span["step"], 0.0) + span["seconds"], 1)
            found[name] = steps
    return found


def _inventory(images: Images) -> dict[str, Any]:
    disks = {
        name: [random_disk(images, f"{name}-{number}", MIB) for number in range(count)]
        for name, count in MACHINES.items()
    }
    return {"vms": [machine(name, *theirs) for name, theirs in disks.items()]}


def _json(lab: Lab, *arguments: str) -> dict[str, Any]:
    done = lab.migratekit(*arguments, "--output", "json", timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    sys.exit(main())
