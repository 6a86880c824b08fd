"""`python -m tests.bench [ROW …]`: measures, prints a table, writes .bench/results.json."""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import copies, digests, exporters, fleet, inventory, limits, links, memory, plots, readers, startup
from tests.bench.measure import GIB, Row

RESULTS = Path(__file__).resolve().parents[2] / ".bench" / "results.json"
ROWS: dict[str, Callable[[Path], Row | list[Row]]] = {
    "full_random": copies.full_random,
    "full_sparse": copies.full_sparse,
    "full_cbt_thin": copies.full_cbt_thin,
    "incremental": copies.incremental,
    "many_disks": copies.many_disks,
    "tunnel": links.tunnel,
    "latency": links.latency,
    "memory": memory.memory,
    "verify": digests.verify,
    "exporters": exporters.exporters,
    "discover_5000": inventory.discover_5000,
    "fleet": fleet.fleet,
    "readers": readers.readers_of_ours,
    "readers_wire": readers.readers_wire,
    "startup": startup.startup,
}
PLOTS = "plots"


def main(arguments: list[str]) -> int:
    """Measure the rows named, or all."""
    # Where somebody's shell forbids it, every start would compile our modules anew: an installed program never does.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    unknown = [name for name in arguments if name not in (*ROWS, PLOTS)]
    if unknown:
        sys.stderr.write(f"bench: no row {', '.join(unknown)}; there are: {', '.join([*ROWS, PLOTS])}\n")
        return 2
    physical = limits.measure()
    print("limits of this machine: " + ", ".join(f"{name} {rate:.1f} GiB/s" for name, rate in physical.items()))
    print(f"{'row':16} {'ratio':>6} {'ours':>9} {'peer':>9}  {'GiB/s':>6}  target, peer", flush=True)
    rows = []
    for name in [name for name in arguments or ROWS if name != PLOTS]:
        # In memory, so that a disk is not what is measured.
        with tempfile.TemporaryDirectory(prefix="mk-bench-", dir=_memory()) as folder:
            measured = ROWS[name](Path(folder))
        for row in measured if isinstance(measured, list) else [measured]:
            rows.append(row.as_dict())
            _show(row)
    RESULTS.parent.mkdir(exist_ok=True)
    if not arguments or PLOTS in arguments:
        with tempfile.TemporaryDirectory(prefix="mk-bench-", dir=_memory()) as folder:
            for path in plots.draw(Path(folder), RESULTS):
                print(f"{PLOTS}: {path}", flush=True)
    RESULTS.write_text(
        json.dumps({"machine": platform.platform(), "limits_gib_per_second": physical, "rows": rows}, indent=2) + "\n"
    )
    return 0


def _show(row: Row) -> None:
    ours, theirs = statistics.median(row.ours), statistics.median(row.theirs)
    rate = f"{row.size / GIB / ours:6.2f}"
    print(f"{row.name:16} {row.ratio:6.2f} {ours:8.2f}s {theirs:8.2f}s  {rate}  {row.target}, {row.peer}", flush=True)
    for name, value in row.more.items():
        print(f"{'':16} {name} {value}", flush=True)


def _memory() -> str | None:
    return "/dev/shm" if shutil.disk_usage("/dev/shm").free > 8 * 1024**3 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
