"""`python -m tests.bench [ROW …]`: measures, prints a table, writes .bench/results.json."""

from __future__ import annotations

import json
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import copies, limits
from tests.bench.measure import Row

RESULTS = Path(__file__).resolve().parents[2] / ".bench" / "results.json"
ROWS: dict[str, Callable[[Path], Row]] = {
    "full_random": copies.full_random,
    "full_sparse": copies.full_sparse,
    "full_cbt_thin": copies.full_cbt_thin,
    "incremental": copies.incremental,
}


def main(arguments: list[str]) -> int:
    """Measure the rows named, or all."""
    unknown = [name for name in arguments if name not in ROWS]
    if unknown:
        sys.stderr.write(f"bench: no row {', '.join(unknown)}; there are: {', '.join(ROWS)}\n")
        return 2
    physical = limits.measure()
    print("limits of this machine: " + ", ".join(f"{name} {rate:.1f} GiB/s" for name, rate in physical.items()))
    print(f"{'row':16} {'ratio':>6} {'ours':>9} {'peer':>9}  {'GiB/s':>6}  target, peer", flush=True)
    rows = []
    for name in arguments or ROWS:
        # In memory, so that a disk is not what is measured.
        with tempfile.TemporaryDirectory(prefix="mk-bench-", dir=_memory()) as folder:
            row = ROWS[name](Path(folder)).as_dict()
        rows.append(row)
        ours, theirs = sorted(row["seconds"]), sorted(row["peer_seconds"])
        print(
            f"{row['name']:16} {row['ratio']:6.2f} {ours[len(ours) // 2]:8.2f}s {theirs[len(theirs) // 2]:8.2f}s"
            f"  {row['gib_per_second']:6.2f}  {row['target']}, {row['peer']}",
            flush=True,
        )
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"machine": platform.platform(), "limits_gib_per_second": physical, "rows": rows}, indent=2) + "\n"
    )
    return 0


def _memory() -> str | None:
    return "/dev/shm" if shutil.disk_usage("/dev/shm").free > 8 * 1024**3 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
