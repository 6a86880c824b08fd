"""`python -m tests.faults`: the whole matrix; prints a table, writes .bench/faults.json, fails where a cell fails.

FAULTS_COUNT: moments for each victim and kind of run (50). FAULTS_LANES: cells at a time (3). FAULTS_SEED: other
moments.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path

from tests.faults.matrix import BOUND, KINDS, VICTIMS, Cell, disturb
from tests.faults.stage import MIB, Images

RESULTS = Path(__file__).resolve().parents[2] / ".bench" / "faults.json"
ROOM = 4 << 30
"""Bytes of memory that must be free for the images to be kept there."""


def main() -> int:
    """Run all cells, and return 1 where a run was not identical or copied too much again."""
    count, lanes, seed = (int(os.environ.get(f"FAULTS_{name}", default)) for name, default in
                          (("COUNT", "50"), ("LANES", "3"), ("SEED", "1")))  # fmt: skip
    began = time.monotonic()
    memory = "/dev/shm" if shutil.disk_usage("/dev/shm").free > ROOM else None
    cells: list[Cell] = []
    stopping = threading.Event()
    with tempfile.TemporaryDirectory(prefix="mk-faults-", dir=memory) as name:
        folder = Path(name)
        images = Images.make(folder)
        _line("victim", "run", "runs", "middle", "identical", "again", "outcomes")
        with ThreadPoolExecutor(lanes) as pool:
            # The kinds last, so that the lanes are not all at the same victim.
            wanted = [(victim, kind) for kind in KINDS for victim in VICTIMS]
            made = [
                pool.submit(_cell, folder / str(number), images, *pair, count, seed, stopping)
                for number, pair in enumerate(wanted)
            ]
            for future in _until_interrupted(as_completed(made), pool, stopping):
                cells.append(future.result())
                _write(cells, count, seed, time.monotonic() - began)
                row = future.result().row()
                outcomes = ", ".join(f"{name} {times}" for name, times in row["outcomes"].items())
                again = f"{row['worst_again_mib']:.1f} MiB"
                _line(*(row[key] for key in ("victim", "kind", "runs", "in_the_middle", "identical")), again, outcomes)
    seconds = time.monotonic() - began
    runs = [run for cell in cells for run in cell.runs]
    bad = [run for run in runs if not run.identical or run.again > BOUND]
    print(f"{len(runs)} runs in {seconds:.0f} s, {len(bad)} bad, bound {BOUND // MIB} MiB: {RESULTS}")
    return 1 if bad else 0


def _cell(
    folder: Path, images: Images, victim: str, kind: str, count: int, seed: int, stopping: threading.Event
) -> Cell:
    """Run a cell, and give its memory back: twelve at a time would not fit."""
    try:
        return disturb(folder, images, victim, kind, count, seed, stopping)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until_interrupted(
    ended: Iterator[Future[Cell]], pool: ThreadPoolExecutor, stopping: threading.Event
) -> Iterator[Future[Cell]]:
    """Yield what ends; Ctrl-C lets every lane take down what it has up, and starts nothing more."""
    try:
        yield from ended
    except KeyboardInterrupt:
        stopping.set()
        pool.shutdown(cancel_futures=True)
        raise


def _write(cells: list[Cell], count: int, seed: int, seconds: float) -> None:
    """Write what is there so far."""
    cells.sort(key=lambda cell: (cell.kind, VICTIMS.index(cell.victim)))
    details = [{**cell.row(), "disturbed": [asdict(run) for run in cell.runs]} for cell in cells]
    found = {"count": count, "seed": seed, "seconds": round(seconds, 1), "cells": details}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=2) + "\n")


def _line(*fields: object) -> None:
    print("{:12} {:12} {:>5} {:>7} {:>10} {:>10}  {}".format(*fields), flush=True)


if __name__ == "__main__":
    sys.exit(main())
