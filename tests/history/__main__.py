"""`python -m tests.history [--sizes 10000 300000] [--prune] [--keep FOLDER | --in FOLDER]`: what commands cost after a
short past and a long one.

Starts a lab, makes one machine's syncs, multiplies their rows, and prints rows examined, seconds and memory of each
command at each size. With `--prune` also how fast the past is deleted while a sync runs, killed once on the way. Writes
.bench/history.json.

`--keep FOLDER` makes the lab there and leaves it running until SIGINT or SIGTERM; `--in FOLDER` measures in one that is
kept, as often as wanted: what is made already is not made again.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.history import generate, kept, measure, pruning
from tests.integration import machines
from tests.integration.support import report
from tests.lab.lab import ROOT, Lab, running

OUT = ROOT / ".bench" / "history.json"
AS_ADVISED = 2048
"""MiB of InnoDB's buffer pool while rows are made and deleted: what docs/database.md tells people to set."""
TIGHT = 64
"""MiB while commands are measured: most of a long past is then on disk."""


def main(arguments: list[str]) -> int:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(prog="python -m tests.history", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 300_000], metavar="SYNCS")
    parser.add_argument("--prune", action="store_true", help="delete it all in the end, and measure that")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make the lab there, and leave it running")
    parser.add_argument("--in", type=Path, dest="within", metavar="FOLDER", help="measure in a lab that is kept")
    options = parser.parse_args(arguments)
    sizes = sorted(options.sizes)
    if options.within:
        _work(kept.read(options.within / "run"), sizes, options.prune)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with (
        tempfile.TemporaryDirectory(prefix="mk-history-") as folder,
        running((options.keep or Path(folder)) / "run", preferred_ports=False, inventory=machines.shared) as lab,
    ):
        kept.note(lab)
        try:
            _work(lab, sizes, options.prune)
        finally:
            if options.keep:
                print(f"kept in {options.keep}", flush=True)
                while True:
                    signal.pause()
    return 0


def _work(lab: Lab, sizes: list[int], prune: bool) -> None:
    found: dict[str, Any] = {"sizes": sizes, "commands": {}}
    written = kept.written(lab)
    if written == 0:
        # The second one is as every later one is.
        for _ in range(2):
            report(lab, "replicate", measure.MACHINE)
        measure.schedule(lab)
    databases = measure.databases(lab)
    one = generate.sample(databases, measure.MACHINE)
    for size in sizes:
        if size > written:
            kept.buffer_pool(lab, AS_ADVISED)
            began = time.monotonic()
            generate.multiply(databases, one, range(sizes[-1] - size, sizes[-1] - written), sizes[-1])
            kept.note(lab, written := size)
            print(f"{size} syncs, {one.rows} rows each, written in {time.monotonic() - began:.0f} s", flush=True)
        elif size < written:
            continue
        kept.buffer_pool(lab, TIGHT)
        for name, cost in measure.costs(lab, memory=True):
            found["commands"].setdefault(name, []).append(vars(cost))
            print(f"  {name:32} {cost.rows:>9} rows {cost.seconds:6.1f} s {cost.kib >> 10:>5} MiB", flush=True)
        _write(found)
    databases.dispose()
    if prune:
        kept.buffer_pool(lab, AS_ADVISED)
        found["prune"] = pruning.measured(lab, sizes[-1])
        _write(found)
    print(f"\n{'command':32} " + " ".join(f"{size:>12}" for size in sizes) + "  ratio")
    for name, costs in found["commands"].items():
        ratio = costs[-1]["rows"] / max(costs[0]["rows"], 1)
        print(f"{name:32} " + " ".join(f"{cost['rows']:>12}" for cost in costs) + f"  {ratio:5.1f}")


def _write(found: dict[str, Any]) -> None:
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
