"""`python -m tests.faults.runner ORDER RESULT`: the process that runs a copy, as a sync does, and can be killed.

ORDER is a JSON file with the jobs and their areas, one job after the other. Each checkpoint of the last job is stored
in `RESULT.checkpoint` as it comes; RESULT is written at the end: how it ended, and what was read and written.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.engine.job import Checkpoint, Event, read_job
from migratekit_core.engine.process import Engines, copy

OUTCOMES = {6: "unreachable", 4: "refused"}
"""Names of exit codes (docs/exit-codes.md)."""


def store(path: Path, text: str) -> None:
    """Write a file so that a killed process leaves the old or the new content, never half of it."""
    waiting = path.with_suffix(f"{path.suffix}.part")
    waiting.write_text(text)
    waiting.rename(path)


def main(order: Path, result: Path) -> None:
    """Run the jobs of `order`; SIGTERM stops them with a checkpoint."""
    engines = Engines()
    signal.signal(signal.SIGTERM, lambda number, frame: engines.stop())
    jobs = json.loads(order.read_text())
    outcome, error, read = "finished", "", 0

    def checkpoint(event: Event) -> None:
        if isinstance(event, Checkpoint):
            store(result.with_suffix(".checkpoint"), str(event.position))

    try:
        for number, item in enumerate(jobs):
            observe = checkpoint if number == len(jobs) - 1 else lambda event: None
            read += copy(
                read_job(json.dumps(item["job"]).encode()),
                [(low, length) for low, length in item["areas"]],
                observe,
                engines,
            ).read
    except KeyboardInterrupt:
        outcome = "interrupted"
    except MigrateKitError as caught:
        outcome, error = OUTCOMES.get(caught.exit_code, "failed"), f"{caught.what}: {caught.why}"
    store(result, json.dumps({"outcome": outcome, "error": error, "read": read}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    # Threads of an engine that was told to stop have nothing left to do.
    sys.stdout.flush()
    os._exit(0)
