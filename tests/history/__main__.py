"""`python -m tests.history [--sizes 10000 300000] [--prune]`: what commands cost after a short past and a long one.

Starts a lab, makes one machine's syncs, multiplies their rows, and prints rows examined, seconds and memory of each
command at each size. With `--prune` also how fast the past is deleted while a sync runs, killed once on the way. Writes
.bench/history.json.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.history import generate, measure
from tests.integration import machines
from tests.integration.support import report, setting, sql
from tests.lab.lab import COMMAND, ROOT, Lab, running

OUT = ROOT / ".bench" / "history.json"
KEEP_MINUTES = 30
"""All copies are older than this, and the sample's own syncs are not."""


def main(arguments: list[str]) -> int:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 300_000], metavar="SYNCS")
    parser.add_argument("--prune", action="store_true", help="delete it all in the end, and measure that")
    options = parser.parse_args(arguments)
    sizes = sorted(options.sizes)
    found: dict[str, Any] = {"sizes": sizes, "commands": {}}
    with (
        tempfile.TemporaryDirectory(prefix="mk-history-") as folder,
        running(Path(folder) / "run", preferred_ports=False, inventory=machines.shared) as lab,
    ):
        # The second one is as every later one is.
        for _ in range(2):
            report(lab, "replicate", measure.MACHINE)
        databases = measure.databases(lab)
        one = generate.sample(databases, measure.MACHINE)
        measure.schedule(lab)
        written = 0
        for size in sizes:
            began = time.monotonic()
            generate.multiply(databases, one, range(sizes[-1] - size, sizes[-1] - written), sizes[-1])
            written = size
            print(f"{size} syncs, {one.rows} rows each, written in {time.monotonic() - began:.0f} s", flush=True)
            for name, cost in measure.costs(lab, memory=True):
                found["commands"].setdefault(name, []).append(vars(cost))
                print(f"  {name:32} {cost.rows:>9} rows {cost.seconds:6.1f} s {cost.kib >> 10:>5} MiB", flush=True)
        databases.dispose()
        if options.prune:
            found["prune"] = _prune(lab, sizes[-1])
    print(f"\n{'command':32} " + " ".join(f"{size:>12}" for size in sizes) + "  ratio")
    for name, costs in found["commands"].items():
        ratio = costs[-1]["rows"] / max(costs[0]["rows"], 1)
        print(f"{name:32} " + " ".join(f"{cost['rows']:>12}" for cost in costs) + f"  {ratio:5.1f}")
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _prune(lab: Lab, syncs: int) -> dict[str, Any]:
    """Delete everything older than the sample, while it goes on being synced; kill the command once."""
    before = _sizes(lab)
    command = [str(COMMAND), "--config", str(lab.config), "jobs", "prune", "--older-than", f"{KEEP_MINUTES}m", "--yes"]
    command += ["--output", "json"]
    began, longest, times = time.monotonic(), 0.0, 0
    killed = subprocess.Popen(command, env=setting(lab), stdout=subprocess.PIPE, start_new_session=True)
    time.sleep(5)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    left = subprocess.Popen(command, env=setting(lab), stdout=subprocess.PIPE, text=True)
    while left.poll() is None:
        start = time.monotonic()
        report(lab, "replicate", measure.MACHINE)
        longest, times = max(longest, time.monotonic() - start), times + 1
    seconds = time.monotonic() - began
    told = json.loads(left.communicate()[0])
    assert left.returncode == 0, told
    for table in ("joblog_steps", "joblog_events", "joblog_progress"):
        assert sql(lab, f"SELECT job_id FROM {table} WHERE job_id NOT IN (SELECT id FROM joblog_jobs) LIMIT 1") == []
    after = _sizes(lab)
    print(f"pruned {syncs} syncs in {seconds:.0f} s, {syncs / seconds:.0f} syncs/s")
    print(f"  {times} syncs were made meanwhile, the longest in {longest:.1f} s")
    for table, size in before.items():
        print(f"  {table:32} {size >> 20:>7} MiB, then {after[table] >> 20:>7} MiB")
    return {"seconds": seconds, "syncs": syncs, "longest_sync": longest, "before": before, "after": after, **told}


def _sizes(lab: Lab) -> dict[str, int]:
    """Return the bytes of each table, by its files."""
    found = {}
    for path in sorted((lab.run / "mariadb").glob("migratekit_*/*.ibd")):
        found[f"{path.parent.name.removeprefix('migratekit_')}.{path.stem}"] = path.stat().st_size
    return {name: size for name, size in found.items() if size > 1 << 20}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
