"""Each call that a command makes to vCenter x each way in which it can go wrong: production runs, and nothing is left.

    .venv/bin/python -m tests.integration.vsphere_matrix [sync failover …] [--fault NAME] [--call TEXT] [--limit N]

The calls are recorded (`/lab/calls/log` of the lab's vCenter) in a run that nothing disturbs; nobody lists them. A cell
runs the command anew and breaks one of those calls, once. Then the machine runs at the source or in CloudStack, at one
of them, no snapshot of ours is left, and an operator's next sync makes the replica identical. Outcomes go to
.bench/vsphere-matrix.json as they come. Not collected by pytest: hours, and what it finds is issue 20's to mend.
"""

from __future__ import annotations

import argparse
import json
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.integration.saga_lane import Lane
from tests.integration.saga_matrix import FAILED, Seat
from tests.integration.support import identical
from tests.lab.lab import ROOT

TIMEOUT = 2.0
"""Seconds after which a command's connection gives up on an answer."""
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

    Raises AssertionError for what an operator's next commands do not mend.
    """
    began, command = time.monotonic(), COMMANDS[name]
    lane.prepare(command.begins)
    centre = lane.lab.vcenter
    centre.fault(**FAULTS[fault], **call.rule())
    done = lane.run(*lane.arguments(command.words), MIGRATEKIT_VCENTER__TIMEOUT=str(TIMEOUT))
    met = centre.faults()[0]["hits"]
    centre.clear_faults()
    lane.state = "unknown"
    said = (
        f"exit {done.returncode}: {next((line for line in done.stderr.splitlines() if line.startswith('error: ')), '')}"
    )
    source, there = centre.vm(lane.vm)["power"] == "on", lane.running()
    wrong = [
        text
        for text, is_so in {
            "a traceback": "Traceback" in done.stderr,
            "production is off": not source and not there,
            "runs on both sides": source and there,
            "does not run at the source": not source and not command.may_leave,
            "a snapshot is left": centre.vm(lane.vm)["snapshots"] != [],
        }.items()
        if is_so
    ]
    if there:
        lane.state = "failed-over"
    try:
        if not source and not there:
            lane.report("rollback", lane.vm, "--yes")
        lane.prepare("replicated")
        assert centre.vm(lane.vm)["power"] == "on", "production stays off"
        identical(lane.lab, lane.vm)
        assert centre.vm(lane.vm)["snapshots"] == [], "the next sync leaves a snapshot"
    except Exception as error:
        raise AssertionError(f"{', '.join(wrong)}; not mended: {error}; {said}") from error
    outcome = ("in CloudStack" if there else "at the source") + ("" if met else ", not met")
    if wrong:
        outcome = f"{FAILED}: {', '.join(wrong)}, until an operator's next commands; {said}"
    return Cell(name, str(call), fault, done.returncode, outcome, round(time.monotonic() - began, 1))


def cells(seat: Seat, wanted: list[tuple[str, Call, str]]) -> Iterator[Cell]:
    """Yield what comes of each cell. A lab that an operator's next commands do not mend is replaced."""
    for name, call, fault in wanted:
        began = time.monotonic()
        try:
            yield cell(seat.lane(), name, call, fault)
        except Exception as error:
            told = (str(error).splitlines() or [repr(error)])[0]
            where = seat.spoilt()
            yield Cell(name, str(call), fault, None, f"{FAILED}: {told} ({where})", round(time.monotonic() - began, 1))


def write(calls: dict[str, list[Call]], found: list[Cell]) -> None:
    """Write down which calls each command makes, and what came of the cells so far."""
    FILE.parent.mkdir(exist_ok=True)
    made = {name: [str(call) for call in all_] for name, all_ in calls.items()}
    FILE.write_text(json.dumps({"calls": made, "cells": [asdict(row) for row in found]}, indent=1) + "\n")


def main() -> int:
    """Run the cells that are asked for; return 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("commands", nargs="*", choices=[[], *COMMANDS], default=[])
    parser.add_argument("--fault", action="append", choices=list(FAULTS), default=[])
    parser.add_argument("--call", default="", help="only calls whose text has this in it")
    parser.add_argument("--limit", type=int, default=1_000_000)
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the labs are to end with it
    found: list[Cell] = []
    with tempfile.TemporaryDirectory() as folder:
        seat = Seat(Path(folder))
        try:
            calls = {name: recorded(seat.lane(), COMMANDS[name]) for name in asked.commands or COMMANDS}
            wanted = [
                (name, call, fault)
                for fault in asked.fault or FAULTS
                for name in calls
                for call in calls[name]
                if asked.call in str(call)
            ][: asked.limit]
            print(
                f"vSphere matrix: {len(wanted)} cells; calls: { ({name: len(all_) for name, all_ in calls.items()}) }"
            )
            write(calls, found)
            for one in cells(seat, wanted):
                found.append(one)
                write(calls, found)
                print(f"{one.command:<10}{one.call:<60}{one.fault:<20}{one.outcome}, {one.seconds} s", flush=True)
        finally:
            seat.close()
    failed = sum(one.outcome.startswith(FAILED) for one in found)
    print(f"vSphere matrix: {len(found)} cells, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
