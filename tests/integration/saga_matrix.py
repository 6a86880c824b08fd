"""The saga's crash matrix: failover, rehearsal, rollback and cleanup, killed at every place, and what came of it.

Cells (saga_lane.py) go on in several lanes at once, each with a lab of its own. The whole matrix takes long, so each
cell is written down as it ends, and a second start goes on where the first was stopped.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tests.integration.machines import machine, random_disk
from tests.integration.saga_lane import SCENARIOS, Cell, Lane
from tests.integration.stand_in import Tool
from tests.integration.support import MIB, dump
from tests.lab.guest import Images
from tests.lab.lab import ROOT, running

SCHEMA = "migratekit.saga-matrix/1"
VM = "saga01"
FAILED = "FAILED"
PAUSE_SECONDS = 1.0
Key = tuple[str, str, str]
"""A cell: scenario, place, what is run then."""
T = TypeVar("T")


def inventory(images: Images) -> dict[str, Any]:
    """Return the one machine of a lane's vCenter."""
    return {"vms": [machine(VM, random_disk(images, "saga01a", MIB), random_disk(images, "saga01b", MIB))]}


@contextmanager
def lane(folder: Path) -> Iterator[Lane]:
    """Yield a lane with a lab of its own below a folder; both end with the block."""
    folder.mkdir(parents=True)
    with running(folder / "run", preferred_ports=False, inventory=inventory) as lab:
        yield Lane(lab, VM, Tool.make(folder))


class Seat:
    """Where a lane's cells go on: its lab is replaced after a failure, which leaves nobody knows what."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._labs = 0
        self._open = ExitStack()
        self._lane: Lane | None = None

    def lane(self) -> Lane:
        """Return the lane, with a lab that is up."""
        if self._lane is None:
            self._labs += 1
            self._lane = self._open.enter_context(lane(self._folder / str(self._labs)))
        return self._lane

    def spoilt(self) -> Path:
        """Stop the lab, and keep what its databases held; return where that and its logs are."""
        folder = self._folder / str(self._labs)
        if self._lane is not None:
            try:
                (folder / "databases.txt").write_text(dump(self._lane.lab))
            finally:
                self.close()
        return folder

    def close(self) -> None:
        """Stop the lab."""
        self._lane = None
        self._open.close()


def code() -> str:
    """Return what tells this state of the product from others: a digest of its sources."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


@dataclass
class Results:
    """What came of the cells so far, in a file where there is one."""

    path: Path | None
    code: str
    """Which state of the product the cells of this start are about."""
    places: dict[str, list[str]] = field(default_factory=dict)
    cells: dict[Key, Cell] = field(default_factory=dict)
    codes: dict[Key, str] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def load(self) -> None:
        """Take over what an earlier start has written down."""
        if self.path is None or not self.path.exists():
            return
        for row in json.loads(self.path.read_text())["cells"]:
            known = row.pop("code")
            cell = Cell(**row)
            self.cells[cell.key], self.codes[cell.key] = cell, known

    def keep(self, keys: set[Key]) -> None:
        """Forget cells that are none any more: the product has other places now."""
        self.cells = {key: cell for key, cell in self.cells.items() if key in keys}

    def add(self, cell: Cell) -> None:
        """Count a cell, and write everything down."""
        with self._guard:
            self.cells[cell.key], self.codes[cell.key] = cell, self.code
            self.write()

    def write(self) -> None:
        """Write everything down, so that a killed run leaves the old or the new file."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [{**asdict(cell), "code": self.codes[key]} for key, cell in self.cells.items()]
        beside = self.path.with_suffix(".part")
        beside.write_text(json.dumps({"schema": SCHEMA, "places": self.places, "cells": rows}, indent=1) + "\n")
        beside.rename(self.path)

    def failed(self) -> list[Cell]:
        """Return the cells that did not end in a clean state."""
        return [cell for cell in self.cells.values() if cell.outcome.startswith(FAILED)]


class Matrix:
    """All cells, in several lanes at once."""

    def __init__(self, folder: Path, lanes: int, results: Results, paused: Callable[[], bool]) -> None:
        self.results = results
        self._seats = [Seat(folder / f"lane{number}") for number in range(1, lanes + 1)]
        self._paused = paused
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        results.load()

    @property
    def places(self) -> dict[str, list[str]]:
        """Return which places each scenario passes."""
        return self.results.places

    def collect(self) -> None:
        """Find out which places each scenario passes."""
        waiting, found = [*SCENARIOS], {}

        def look(seat: Seat) -> None:
            while self._may_go_on() and (name := self._next(waiting, seat, lambda name: SCENARIOS[name].begins)):
                found[name] = seat.lane().passed(SCENARIOS[name])

        began = time.monotonic()
        self._each_seat(look)
        print(f"saga matrix: places collected in {time.monotonic() - began:.0f} s", flush=True)
        self.results.places = {name: found[name] for name in SCENARIOS}
        self.results.keep({*self.all_cells()})

    def all_cells(self) -> list[Key]:
        """Return every cell, in an order of which any beginning tells the most: each place once before any twice, and
        last where a step begins, for little has happened since the one before ended."""
        cells = [
            (place.endswith("/running"), (turn - number) % len(scenario.then), (name, place, then))
            for name, scenario in SCENARIOS.items()
            for number, place in enumerate(self.places[name])
            for turn, then in enumerate(scenario.then)
        ]
        return [cell for _, _, cell in sorted(cells, key=lambda cell: cell[:2])]

    def run(self, wanted: list[Key]) -> None:
        """Run cells that have no clean outcome yet. Raises AssertionError, naming those that failed."""
        clean = {key for key, cell in self.results.cells.items() if not cell.outcome.startswith(FAILED)}
        waiting = [key for key in wanted if key not in clean]
        if len(waiting) < len(wanted):
            print(
                f"saga matrix: goes on: {len(wanted) - len(waiting)} of {len(wanted)} kills are in {self.results.path}"
            )
        print(f"saga matrix: {len(waiting)} kills in {len(self._seats)} lanes", flush=True)
        self._each_seat(lambda seat: self._work(seat, waiting))
        failed = [cell for cell in self.results.failed() if cell.key in wanted]
        assert failed == [], "\n".join(f"{' '.join(cell.key)}: {cell.outcome}" for cell in failed)

    def _work(self, seat: Seat, waiting: list[Key]) -> None:
        while self._may_go_on() and (key := self._next(waiting, seat, lambda key: SCENARIOS[key[0]].begins)):
            began = time.monotonic()
            try:
                done = seat.lane().cell(*key)
            except Exception as error:
                told = (str(error).splitlines() or [repr(error)])[0]
                done = Cell(*key, f"{FAILED}: {told}", round(time.monotonic() - began, 1))
                print(f"saga matrix: {' '.join(key)}, in {seat.spoilt()}:\n{traceback.format_exc()}", flush=True)
            self.results.add(done)
            print(f"saga matrix: {len(waiting)} to go: {' '.join(key)}: {done.outcome}, {done.seconds} s", flush=True)

    def _each_seat(self, work: Callable[[Seat], None]) -> None:
        """Do something in all lanes at once; where it is interrupted, each ends the cell that it is at."""
        with ThreadPoolExecutor(len(self._seats)) as pool:
            under_way = [pool.submit(work, seat) for seat in self._seats]
            try:
                for one in under_way:
                    one.result()
            except BaseException:
                self._stopping.set()
                raise

    def _may_go_on(self) -> bool:
        """Wait while the matrix is paused; return whether another cell may begin."""
        while self._paused() and not self._stopping.is_set():
            time.sleep(PAUSE_SECONDS)
        return not self._stopping.is_set()

    def _next(self, waiting: list[T], seat: Seat, begins: Callable[[T], str]) -> T | None:
        """Take one that begins where the lane's last one ended, which needs no preparation; else the first."""
        state = seat.lane().state if waiting else ""
        with self._guard:
            if not waiting:
                return None
            found = next((one for one in waiting if begins(one) == state), waiting[0])
            waiting.remove(found)
            return found

    def close(self) -> None:
        """Stop all labs."""
        with ThreadPoolExecutor(len(self._seats)) as pool:
            for _ in pool.map(Seat.close, self._seats):
                pass

    def table(self) -> None:
        """Print what came of it."""
        cells = self.results.cells.values()
        print(f"\n{'SCENARIO':<14}{'KILLED AT':<62}{'THEN':<15}OUTCOME")
        for cell in sorted(cells, key=lambda cell: [*SCENARIOS].index(cell.scenario)):
            print(f"{cell.scenario:<14}{cell.place:<62}{cell.then:<15}{cell.outcome}")
        failed = Counter((cell.scenario, cell.then) for cell in self.results.failed())
        for kind, count in sorted(Counter((cell.scenario, cell.then) for cell in cells).items()):
            print(f"saga matrix: {kind[0]}, then {kind[1]}: {count} kills, {count - failed[kind]} clean")
        met = len({(cell.scenario, cell.place) for cell in cells})
        print(
            f"saga matrix: {len(cells)} kills, {len(cells) - failed.total()} clean, "
            f"at {met} of {sum(map(len, self.places.values()))} places"
        )
        older = sum(self.results.codes[cell.key] != self.results.code for cell in cells)
        if older:
            print(f"saga matrix: {older} of them with other sources than now; remove {self.results.path} to begin anew")
