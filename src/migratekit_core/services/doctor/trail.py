"""The lines of a probe, made as its steps end; those that were not tried are lines, too."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from migratekit_core.common.errors import CancelledError, MigrateKitError, OperationFailedError
from migratekit_core.common.hints import hint, joined, migratekit
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.doctor.model import Answer, Line, Status, failed, failure, line_of, ok, warning
from migratekit_core.services.doctor.run import PROBE

STEPS = {
    "create": "volume made",
    "attach": "attached to the OMA",
    "export": "exported",
    "write": "written",
    "read": "read back",
    "remove": "removed again",
}
"""What the line of each step is called; in their order."""
LEFTOVERS = "left by an earlier probe"
LEFT_LATER = hint(
    "remove it later: ", migratekit("doctor", "--probe"), " does, and ", migratekit("cleanup", "--orphans", "--yes")
)


class Trail:
    """The lines so far; `tell` is told of each step as it begins."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._lines: list[Line] = []
        self._told: list[BaseException] = []
        """Errors that a line tells of."""

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Have an error that ends the block be a line, unless a step's line tells of it. Raises CancelledError."""
        began = time.monotonic()
        try:
            yield
        except CancelledError:
            raise
        except Exception as error:
            if not self._knows(error):
                self._fail("begin", PROBE, error, began)

    @contextmanager
    def step(self, job: Job, name: str) -> Iterator[Callable[[str], None]]:
        """Have the block be a step of the job, and a line; what is yielded takes what was found.

        Raises what the block raises; the line tells of it.
        """
        said: list[str] = []
        self._tell(f"probe: {name}")
        began = time.monotonic()
        try:
            with job.step(name) as step:
                yield said.append
                step.log(EventKind.PROBE_STEP_DONE, text=f"{name}: done", seconds=round(time.monotonic() - began, 3))
        except Exception as error:
            self._fail(name, STEPS[name], error, began)
            raise
        self._add(name, ok(STEPS[name], f"{''.join(said)}, in {time.monotonic() - began:.1f} s"), began)

    def left_over(self, names: Sequence[str], error: MigrateKitError | None, began: float) -> None:
        """Tell what earlier probes have left, if anything: names of removed volumes, and why not all are removed."""
        if error is not None:
            self._add("leftovers", warning(LEFTOVERS, failure(LEFTOVERS, error).found, LEFT_LATER), began)
        elif names:
            self._add("leftovers", ok(LEFTOVERS, f"removed: {', '.join(names)}"), began)

    def lines(self) -> list[Line]:
        """Return all lines; once a step was tried, of all that were not tried, too, in their places."""
        there = {line.check.partition(".")[2]: line for line in self._lines}
        if not there.keys() & STEPS.keys():
            return self._lines
        bad = next((line.what for line in self._lines if line.status is Status.FAILED), None)
        reason = f"not tried: {bad}: failed" if bad else "not tried"
        skipped = {name: Answer(what, Status.SKIPPED, reason) for name, what in STEPS.items() if name not in there}
        named = {**there, **{name: line_of(f"{PROBE}.{name}", answer, 0.0) for name, answer in skipped.items()}}
        return [named[name] for name in ("begin", "leftovers", *STEPS) if name in named]

    def _knows(self, error: BaseException) -> bool:
        """Return whether a line tells of an error, or of what it was made of."""
        return any(told in (error, error.__cause__) for told in self._told)

    def _fail(self, name: str, what: str, error: Exception, began: float) -> None:
        self._told.append(error)
        if isinstance(error, MigrateKitError):
            answer = failure(what, error)
        else:
            text = f"the check itself failed: {type(error).__name__}: {error}"
            answer = failed(what, text, "report this", OperationFailedError.exit_code)
        if name == "remove":
            answer = replace(answer, todo=joined("; ", (answer.todo, LEFT_LATER)))
        self._add(name, answer, began)

    def _add(self, name: str, answer: Answer, began: float) -> None:
        self._lines.append(line_of(f"{PROBE}.{name}", answer, round(time.monotonic() - began, 3)))
