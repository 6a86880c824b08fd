"""One cell of the matrix: a victim and a kind of run, disturbed at random moments, and checked after each."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migratekit_core.engine.job import Job
from tests.faults.stage import DATA, MIB, RATE, SIZE, Areas, Images, Run, Stage, gone, stage, stored_checkpoint

VICTIMS = ("engine", "parent", "source", "exporter", "tunnel, VMA", "tunnel, OMA")
KINDS = ("full", "incremental")
BOUND = 64 * MIB
"""What may be copied again besides what is missing."""
EARLY = 0.1
"""Share of the moments that lie before the first byte: while processes start and shake hands."""
AWAY_SECONDS = 0.3
"""How long what was killed stays away before it is started again, or the run is told to stop."""


@dataclass(frozen=True)
class Disturbed:
    """What became of one disturbed run."""

    early: bool
    """Whether it was before the first byte."""
    moment: float
    """Seconds after the first byte, or after the start."""
    outcome: str
    error: str
    missing: int
    """Bytes of data that were not on the target then."""
    checkpoint: int
    copied: int
    """Bytes that the next run copied."""
    identical: bool
    carriers: int
    """Threads that carried, in the run that was disturbed; none: the loop did it."""

    @property
    def again(self) -> int:
        """Return how many bytes were copied again without being missing."""
        return max(self.copied - self.missing, 0)


@dataclass
class Cell:
    """All disturbed runs of one victim and kind."""

    victim: str
    kind: str
    runs: list[Disturbed] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Return the cell's line of the table."""
        return {
            "victim": self.victim,
            "kind": self.kind,
            "runs": len(self.runs),
            "in_the_middle": sum(0 < run.missing < DATA for run in self.runs),
            "carried": sum(run.carriers > 0 for run in self.runs),
            "identical": sum(run.identical for run in self.runs),
            "worst_again_mib": round(max(run.again for run in self.runs) / MIB, 2),
            "outcomes": dict(Counter(run.outcome for run in self.runs).most_common()),
        }


def disturb(
    folder: Path, images: Images, victim: str, kind: str, count: int, seed: int, stopping: threading.Event | None = None
) -> Cell:
    """Kill `victim` at `count` random moments of as many runs; fewer once `stopping` is set."""
    cell = Cell(victim, kind)
    for far in (False, True):
        with stage(folder / ("far" if far else "near"), images, far) as place:
            for number in range(far, count, 2):
                if stopping is not None and stopping.is_set():
                    break
                rng = random.Random(f"{victim} {kind} {number} {seed}")
                cell.runs.append(_once(place, victim, kind == "full", number // 2 % 2 == 0, rng))
    return cell


def _once(place: Stage, victim: str, full: bool, comes_back: bool, rng: random.Random) -> Disturbed:
    place.ready(full)
    areas = place.images.allocated if full else place.images.changed
    # Either way of moving data: the loop, or carriers.
    carriers = rng.choice([0, 2])
    early, moment = rng.random() < EARLY, rng.uniform(0, DATA / RATE)
    run = Run(place.folder, [_job(place, areas, full, rate=RATE, carriers=carriers)])
    if early:
        time.sleep(moment / 2)
    else:
        place.first_byte(run)
        time.sleep(moment)
    engine = run.engine()
    if victim in ("engine", "parent"):
        if engine is not None:
            os.kill(run.process.pid if victim == "parent" else engine, signal.SIGKILL)
    else:
        place.kill(victim)
        time.sleep(AWAY_SECONDS)
        if comes_back:
            place.mend()
        elif victim != "source":
            # Nobody waits for the minutes that a target is given to come back: the operator stops the run.
            run.process.terminate()
    result = run.end()
    if engine is not None:
        gone(engine)
    place.settle()

    # The guest goes on; the next run's snapshot is another one.
    since = place.guest_writes(rng)
    position = stored_checkpoint(place.folder)
    missing = place.missing()
    jobs = [_job(place, sorted(areas + since), full, start=position)]
    below = [(low, min(length, position - low)) for low, length in since if low < position]
    if below:
        jobs.insert(0, _job(place, below, False))
    place.new_reader()
    after = Run(place.folder, jobs).end()
    error = result["error"]
    if after["outcome"] != "finished":
        error = f"the next run: {after['outcome']}, {after['error']}; {place.state()}"
    identical = after["outcome"] == "finished" and not place.wrong()
    return Disturbed(early, moment, result["outcome"], error, missing, position, after["read"], identical, carriers)


def _job(place: Stage, areas: Areas, full: bool, **more: int | None) -> dict[str, Any]:
    job = Job("fault disk", place.source.uri, place.target_uri, SIZE, full, gate=place.gate, **more)
    return {"job": job._asdict(), "areas": areas}
