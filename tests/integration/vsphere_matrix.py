"""Each call that a command makes to vCenter x each way in which it can go wrong: production runs, and nothing is left.

    .venv/bin/python -m tests.integration.vsphere_matrix [sync failover …] [--fault NAME …] [--call TEXT …] [--lanes N]

The calls are recorded (`/lab/calls/log` of the lab's vCenter) in a run that nothing disturbs; nobody lists them. A cell
runs the command anew and breaks one of those calls, once. Then the machine runs at the source or in CloudStack, at one
of them, nothing of ours is left in vCenter or CloudStack, and the replica is identical, perhaps after the one command
that the error names. Outcomes go to .bench/vsphere-matrix.json as they come; a second start runs what is not there yet,
and what failed; with --again also what was not done as it was asked for. `nox -s vsphere_matrix` takes the five faults
of USUAL, an hour and a half with two lanes, and all eight with `-- --fault all --lanes 2`; a sample is in
test_vsphere_failures.py.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tests.integration.saga_lane import Lane
from tests.integration.saga_matrix import FAILED, Seat, code
from tests.integration.support import Done, identical, nothing_left
from tests.lab.lab import ROOT

TIMEOUT = 2.0
"""Seconds after which a command's connection gives up on an answer."""
HASTY = {"MIGRATEKIT_VCENTER__TIMEOUT": str(TIMEOUT), "MIGRATEKIT_VCENTER__PATIENCE": "60"}
Key = tuple[str, str, str]
"""A cell: command, call, fault."""
FILE = ROOT / ".bench" / "vsphere-matrix.json"
FAULTS: dict[str, dict[str, Any]] = {
    "session-ended": {"mode": "session-ended"},
    "503": {"mode": "status", "status": 503},
    "503-for-a-time": {"mode": "down", "seconds": 8},
    "restart": {"mode": "down", "seconds": 8, "restart": True},
    "cut": {"mode": "cut"},
    "cut-after-the-work": {"mode": "cut", "after": True},
    "408": {"mode": "status", "status": 408, "after": True},
    "late": {"mode": "late", "seconds": 2 * TIMEOUT},
}
USUAL = ("session-ended", "503", "cut", "408", "late")
"""What is run unless something else is asked for; the others are longer outages, and a cut whose work was done."""
UNBROKEN = ("Logout",)
"""Calls after which nothing matters any more."""


@dataclass(frozen=True)
class Command:
    """What is run, and the state of the lane (saga_lane.py) that it begins in and leaves."""

    begins: str
    words: tuple[str, ...]
    ends: str
    may_leave: bool = False
    """Whether the machine may run in CloudStack afterwards."""


COMMANDS = {
    "sync": Command("replicated", ("replicate",), "replicated"),
    "failover": Command("replicated", ("failover", "--yes"), "failed-over", may_leave=True),
    "rehearsal": Command("replicated", ("test-failover",), "rehearsed"),
    "rollback": Command("failed-over", ("rollback", "--yes"), "unknown", may_leave=True),
    "cleanup": Command("rehearsed", ("cleanup",), "replicated"),
}


@dataclass(frozen=True)
class Call:
    """One call of a command: the `skip`-th, from 0 on, of its kind."""

    method: str
    type: str
    property: str
    skip: int

    def rule(self) -> dict[str, Any]:
        """Return the part of a fault's rule that names this call."""
        return {"method": self.method, "type": self.type, "property": self.property, "skip": self.skip, "max": 1}

    def __str__(self) -> str:
        """Return it as in a table."""
        about = f"{self.type}.{self.property}" if self.property else self.type
        return f"{self.method}({about})#{self.skip}"


@dataclass(frozen=True)
class Cell:
    """What came of one call that went wrong."""

    command: str
    call: str
    fault: str
    exit_code: int | None
    outcome: str
    seconds: float


def recorded(lane: Lane, command: Command) -> list[Call]:
    """Run a command undisturbed, and return its calls in their order.

    A call that is repeated is met the first, second and last time: a loop's other rounds are like its second.
    """
    lane.prepare(command.begins)
    since = lane.lab.vcenter.calls()["next"]
    done = lane.run(*lane.arguments(command.words))
    assert done.returncode == 0, done.stderr
    lane.state = command.ends
    kinds: Counter[tuple[str, str, str]] = Counter()
    calls = []
    for row in lane.lab.vcenter.calls(since)["calls"]:
        kind = (row["method"], row["type"], (row.get("properties") or [""])[0])
        if kind[0] not in UNBROKEN:
            calls.append(Call(*kind, kinds[kind]))
            kinds[kind] += 1
    return [call for call in calls if call.skip in (0, 1, kinds[call.method, call.type, call.property] - 1)]


def cell(lane: Lane, name: str, call: Call, fault: str) -> Cell:
    """Break one call of a command, and see what came of it.

    Raises AssertionError where production does not run, something is left, or no command that the error names mends it.
    """
    command, centre = COMMANDS[name], lane.lab.vcenter
    lane.prepare(command.begins)
    began = time.monotonic()
    centre.fault(**FAULTS[fault], **call.rule())
    done = lane.run(*lane.arguments(command.words), **HASTY)
    met = centre.faults()[0]["hits"]
    centre.clear_faults()
    lane.state = command.ends if done.returncode == 0 else "unknown"
    outcome = judge(lane, command, done) + ("" if met else ", not met")
    return Cell(name, str(call), fault, done.returncode, outcome, round(time.monotonic() - began, 1))


def judge(lane: Lane, command: Command, done: Done) -> str:
    """Return where the machine runs after a command; run what its error names first, where that is needed.

    Raises AssertionError as `cell`.
    """
    said = next((line for line in done.stderr.splitlines() if line.startswith("error: ")), "")
    assert "Traceback" not in done.stderr, "a traceback"
    assert "[unexpected]" not in said, said
    mended = ""
    for words in (("rollback", lane.vm, "--yes"), ("cleanup", lane.vm)):
        if wrong(lane, command) and f"migratekit {words[0]} {lane.vm}" in done.stderr:
            lane.report(*words)
            mended = f", after {words[0]}"
    found = wrong(lane, command)
    assert found == [], f"{', '.join(found)}; exit {done.returncode}: {said}"
    there = lane.running()
    if there:
        assert command.may_leave, "it runs in CloudStack"
        lane.state = "failed-over"
    elif done.returncode or lane.state == "unknown":
        lane.prepare("replicated")
    if lane.state == "replicated":
        identical(lane.lab, lane.vm)
        nothing_left(lane.lab, lane.vm)
    return ("in CloudStack" if there else "at the source") + mended


def wrong(lane: Lane, command: Command) -> list[str]:
    """Return what must not be so after a command, however it ended."""
    machine, there = lane.lab.vcenter.vm(lane.vm), lane.running()
    source = machine["power"] == "on"
    found = {
        "production is off": not source and not there,
        "runs on both sides": source and there,
        "does not run at the source": not source and not command.may_leave,
        "a snapshot is left": machine["snapshots"] != [],
    }
    return [text for text, is_so in found.items() if is_so]


class Results:
    """What came of the cells so far, and of which sources, in a file."""

    def __init__(self, calls: dict[str, list[Call]]) -> None:
        self.calls = calls
        self.cells: dict[Key, Cell] = {}
        self._codes: dict[Key, str] = {}
        self._guard = threading.Lock()
        for row in json.loads(FILE.read_text())["cells"] if FILE.exists() else ():
            known = row.pop("code")
            self.cells[row["command"], row["call"], row["fault"]] = Cell(**row)
            self._codes[row["command"], row["call"], row["fault"]] = known

    def clean(self, key: Key, done: bool = False) -> bool:
        """Return whether a cell was run and did not fail; with `done` whether its command did what it was to do."""
        found = self.cells.get(key)
        return found is not None and not found.outcome.startswith(FAILED) and (found.exit_code == 0 or not done)

    def add(self, one: Cell) -> None:
        """Write a cell down."""
        with self._guard:
            key = (one.command, one.call, one.fault)
            self.cells[key], self._codes[key] = one, code()
            self._write()

    def _write(self) -> None:
        FILE.parent.mkdir(exist_ok=True)
        made = {name: [str(call) for call in all_] for name, all_ in self.calls.items()}
        rows = [{**asdict(row), "code": self._codes[key]} for key, row in self.cells.items()]
        beside = FILE.with_suffix(".part")
        beside.write_text(json.dumps({"calls": made, "cells": rows}, indent=1) + "\n")
        beside.rename(FILE)


def ordered(calls: dict[str, list[Call]], faults: Sequence[str], texts: Sequence[str]) -> list[tuple[str, Call, str]]:
    """Return the cells in an order of which any beginning tells the most: each call once before any twice, and by then
    each fault as often as any other."""
    rows = zip_longest(
        *([(name, call) for call in made if any(text in str(call) for text in texts)] for name, made in calls.items())
    )
    each = [one for row in rows for one in row if one is not None]
    return [
        (name, call, faults[(number + turn) % len(faults)])
        for turn in range(len(faults))
        for number, (name, call) in enumerate(each)
    ]


def work(seat: Seat, waiting: list[tuple[str, Call, str]], results: Results, stopping: threading.Event) -> None:
    """Run cells in one lane until none is left. A lab that a cell has spoilt is replaced."""
    while waiting and not stopping.is_set():
        try:
            # What begins where the lane's last one ended needs no preparation.
            state = seat.lane().state
            name, call, fault = next((one for one in waiting if COMMANDS[one[0]].begins == state), waiting[0])
            waiting.remove((name, call, fault))
        except (IndexError, ValueError):  # the other lane was faster
            continue
        began = time.monotonic()
        try:
            one = cell(seat.lane(), name, call, fault)
        except Exception as error:
            told = (str(error).splitlines() or [repr(error)])[0]
            outcome = f"{FAILED}: {told} ({seat.spoilt()})"
            one = Cell(name, str(call), fault, None, outcome, round(time.monotonic() - began, 1))
        results.add(one)
        print(f"{one.command:<10}{one.call:<60}{one.fault:<20}{one.outcome}, {one.seconds} s", flush=True)


def main() -> int:
    """Run the cells that are asked for; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS], default=[])
    parser.add_argument("--fault", action="append", choices=[*FAULTS, "all"], default=[])
    parser.add_argument("--call", action="append", default=[], help="only calls whose text has this in it")
    parser.add_argument("--again", action="store_true", help="also what ended with another exit code than 0")
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--lanes", type=int, default=1, help="how many cells go on at once, each in a lab of its own")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the labs are to end with it
    with tempfile.TemporaryDirectory() as folder:
        seats = [Seat(Path(folder) / str(number)) for number in range(asked.lanes)]
        try:
            calls = {name: recorded(seats[0].lane(), COMMANDS[name]) for name in asked.commands or COMMANDS}
            results, stopping = Results(calls), threading.Event()
            faults = list(FAULTS) if "all" in asked.fault else asked.fault or USUAL
            wanted = ordered(calls, faults, asked.call or [""])[: asked.limit]
            keys = [(name, str(call), fault) for name, call, fault in wanted]
            waiting = [one for one, key in zip(wanted, keys, strict=True) if not results.clean(key, asked.again)]
            counts = {name: len(all_) for name, all_ in calls.items()}
            print(f"vSphere matrix: {len(waiting)} of {len(wanted)} cells to run; calls: {counts}", flush=True)
            with ThreadPoolExecutor(len(seats)) as pool:
                lanes = [pool.submit(work, seat, waiting, results, stopping) for seat in seats]
                try:
                    for one in lanes:
                        one.result()
                except BaseException:
                    stopping.set()
                    raise
        finally:
            for seat in seats:
                seat.close()
    failed = sum(not results.clean(key) for key in keys)
    print(f"vSphere matrix: {len(keys)} cells, {failed} failed or not run")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
