"""One run of all machines that are due, some at a time, each in a process of its own: one that fails stops no other.

While a long sync goes on, machines that become due meanwhile are synced beside it. Only one such run goes on at a time;
a machine that somebody else works on is left to them.
"""

from __future__ import annotations

import contextlib
import json
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import Engine

from migratekit_core.common.childprocess import Child
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError
from migratekit_core.config.schema import Schedule
from migratekit_core.db.locks import vm_lock
from migratekit_core.services.schedule.due import AMBIGUOUS, DUE, FAILED_OVER, Standing, standings

LOOK_SECONDS = 10.0
"""How often a run looks who has become due meanwhile."""
POLL_SECONDS = 0.1
STOP_SECONDS = 60.0
"""What a stopped sync may take for its checkpoint and its snapshot."""
LOCK = "replicate --all-due"

Start = Callable[[str, IO[str], Path], Child]
"""Starts `migratekit replicate NAME --output json` with stdout in one file, and its error in another
(errors.ERROR_FILE)."""


@dataclass(frozen=True)
class Outcome:
    """What became of one machine; sizes in bytes, times in seconds."""

    name: str
    exit_code: int
    seconds: float
    late: float
    """By how much its replica was older than it may be when its sync began."""
    kind: str
    moved: int
    error: str
    """What the command said, if it failed."""
    code: str = ""
    """Of its error (ErrorCode)."""
    surplus: tuple[dict[str, Any], ...] = ()
    """The machine's volumes that nothing needs any more, as `replicate` tells of them."""

    @property
    def busy(self) -> bool:
        """Return whether somebody else worked on it."""
        return self.exit_code == BusyError.exit_code


@dataclass(frozen=True)
class Result:
    """What came of a run."""

    outcomes: tuple[Outcome, ...]
    standings: tuple[Standing, ...]
    """How the machines stood when it began."""
    seconds: float

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Return what failed; a machine that somebody else works on is none of it."""
        return tuple(each for each in self.outcomes if each.exit_code and not each.busy)

    @property
    def late(self) -> tuple[Outcome, ...]:
        """Return machines whose replica was too old."""
        return tuple(each for each in self.outcomes if each.late)

    def count(self, state: str) -> int:
        """Return how many machines stood so."""
        return sum(each.state == state for each in self.standings)

    @property
    def trouble(self) -> bool:
        """Return whether somebody has to hear of it."""
        return bool(self.failed or self.late or self.count(AMBIGUOUS))


def run_due(engine: Engine, schedule: Schedule, start: Start, note: Callable[[str], None]) -> Result:
    """Sync every machine that is due. Raises BusyError while another such run goes on, UsageError where no machine is
    scheduled, KeyboardInterrupt where it was stopped: by then all its syncs have written their checkpoints."""
    standings(engine, schedule)
    try:
        with vm_lock(engine, LOCK, LOCK):
            return _Lanes(engine, schedule, start, note).run()
    except BusyError as error:
        raise BusyError(
            "another run of replicate --all-due goes on", error.why, "nothing is to do", code=ErrorCode.ALREADY_RUNNING
        ) from None


class _Lanes:
    def __init__(self, engine: Engine, schedule: Schedule, start: Start, note: Callable[[str], None]) -> None:
        self._engine = engine
        self._schedule = schedule
        self._start = start
        self._note = note
        self._running: dict[str, _Sync] = {}
        self._done: list[Outcome] = []
        self._failed: set[str] = set()

    def run(self) -> Result:
        """Go on until nothing that was due at the beginning is left."""
        # Not in the same second as all other hosts whose clock says the same.
        time.sleep(random.uniform(0, self._schedule.jitter))  # noqa: S311
        began = time.monotonic()
        first = standings(self._engine, self._schedule)
        open_names = {each.name for each in first if each.state == DUE}
        waiting = [each for each in first if each.state == DUE]
        looked = time.monotonic()
        try:
            while open_names:
                self._fill(waiting)
                time.sleep(POLL_SECONDS)
                ended = self._reap()
                open_names -= ended
                if ended or time.monotonic() - looked >= LOOK_SECONDS:
                    looked = time.monotonic()
                    now = standings(self._engine, self._schedule)
                    waiting = [each for each in now if each.state == DUE and self._may(each.name)]
                    # What is not due any more was synced by somebody else.
                    open_names &= {each.name for each in waiting} | self._running.keys()
            while self._running:
                time.sleep(POLL_SECONDS)
                self._reap()
        except BaseException:
            self._stop()
            raise
        return Result(tuple(self._done), tuple(first), time.monotonic() - began)

    def _may(self, name: str) -> bool:
        return name not in self._running and name not in self._failed

    def _fill(self, waiting: list[Standing]) -> None:
        while waiting and len(self._running) < self._schedule.parallel:
            each = waiting.pop(0)
            if self._may(each.name):
                self._note(f"{each.name}: sync begins")
                self._running[each.name] = _Sync(each, self._start)

    def _reap(self) -> set[str]:
        ended = {name for name, sync in self._running.items() if not sync.process.running()}
        for name in ended:
            outcome = self._running.pop(name).outcome()
            self._done.append(outcome)
            if outcome.exit_code:
                self._failed.add(name)
            self._note(f"{name}: {'synced' if not outcome.exit_code else f'exit {outcome.exit_code}'}")
        return ended

    def _stop(self) -> None:
        for sync in self._running.values():
            sync.process.ask_to_stop()
        deadline = time.monotonic() + STOP_SECONDS
        for sync in self._running.values():
            if sync.process.wait(max(deadline - time.monotonic(), 0.1)) is None:
                sync.process.kill()


class _Sync:
    """A sync that runs."""

    def __init__(self, standing: Standing, start: Start) -> None:
        self._standing = standing
        self._began = time.monotonic()
        # Both are closed with the outcome.
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self._told = tempfile.NamedTemporaryFile("r")  # noqa: SIM115
        self.process = start(standing.name, self._out, Path(self._told.name))

    def outcome(self) -> Outcome:
        """Return what came of it, now that it has ended."""
        ending = self.process.ending()
        code = ending.code
        with self._out, self._told:
            self._out.seek(0)
            said, told = self._out.read(), self._told.read()
        result: dict[str, Any] = {}
        with contextlib.suppress(ValueError):
            result = json.loads(said) if code == 0 else {}
        # One that was killed, or found the disk full, has told nothing or half of it: what it said last, then.
        error = {"text": ending.said[-2000:].strip()}
        with contextlib.suppress(ValueError):
            error = json.loads(told)
        return Outcome(
            name=self._standing.name,
            exit_code=code,
            seconds=time.monotonic() - self._began,
            late=self._standing.late,
            kind=str(result.get("kind", "")),
            moved=int(result.get("bytes_moved", 0)),
            error=error["text"] if code else "",
            code=error.get("code", "") if code else "",
            surplus=tuple(result.get("surplus_volumes", [])),
        )


__all__ = ["AMBIGUOUS", "DUE", "FAILED_OVER", "Outcome", "Result", "Start", "run_due"]
