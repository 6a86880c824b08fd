"""Runs the checks at the same time, each for a bounded time; one that hangs costs its own line and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import migratekit_core.services.doctor.checks  # noqa: F401 (fills CHECKS)
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, UnreachableError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import (
    CHECKS,
    Answer,
    Check,
    Line,
    SkippedError,
    Status,
    failed,
    failure,
    line_of,
)
from migratekit_core.services.doctor.site import Site

PROBE = "probe"
"""The topic of `doctor --probe`, which is no check among the others: it changes something, and takes its time."""
SECONDS = 30.0
"""How long one check may take unless something else is asked for."""


@dataclass(frozen=True)
class Report:
    """All lines, in the order of the checks."""

    lines: tuple[Line, ...]
    seconds: float

    def plus(self, lines: Sequence[Line], seconds: float) -> Report:
        """Return a report with more lines, which took so long."""
        return Report((*self.lines, *lines), self.seconds + seconds)

    @property
    def verdict(self) -> Status:
        """Return the worst that was found."""
        found = {line.status for line in self.lines}
        return next((status for status in (Status.FAILED, Status.WARNING) if status in found), Status.OK)

    @property
    def exit_code(self) -> int:
        """Return the code of the first failed line, 0 without one: lines stand in the order in which to mend them."""
        return next((line.exit_code for line in self.lines if line.status is Status.FAILED), 0)


def examine(config: Config, seconds: float = SECONDS, topics: Sequence[str] = (), remote: bool = False) -> Report:
    """Return what the checks of these topics (all by default) find; `remote` also asks the OMA itself, over SSH."""
    wanted = [
        check
        for check in CHECKS
        if (not topics or check.topic in topics) and (remote or check.topic != "remote") and check.applies(config)
    ]
    return run(wanted, config, seconds)


def topics() -> list[str]:
    """Return the topics that there are."""
    return [*dict.fromkeys(check.topic for check in CHECKS), PROBE]


def run(checks: Sequence[Check], config: Config, seconds: float) -> Report:
    """Run checks on a site of their own."""
    began = time.monotonic()
    with closing(Site(config)) as site:
        running = [_Running(check, site) for check in checks]
        for each in running:
            each.thread.join(max(0.0, began + seconds - time.monotonic()))
            each.settle(seconds)
    # Where the check that fails was not asked for, those that hang on it are all there is to say so.
    silent = not any(each.fails for each in running)
    lines = [line for each in running for line in each.lines(blamed=silent)]
    return Report(tuple(lines), time.monotonic() - began)


class _Running:
    """A check in a thread of its own; the program does not wait for it at its end."""

    def __init__(self, check: Check, site: Site) -> None:
        self._check = check
        self._answers: list[Answer] = []
        self._began = time.monotonic()
        self._took: float | None = None
        self._settled: list[Answer] = []
        self._seconds = 0.0
        self.thread = threading.Thread(target=self._run, args=(site,), daemon=True, name=f"doctor-{check.name}")
        self.thread.start()

    def settle(self, limit: float) -> None:
        """Take what has been found so far, and that it is not all where the time was not enough."""
        took, self._settled = self._took, list(self._answers)
        if took is None:
            todo = hint("look at what it asks, or allow more time: ", migratekit("doctor", "--timeout"))
            found = f"no answer within {limit:.0f} s"
            self._settled.append(failed(self._check.what, found, todo, UnreachableError.exit_code))
        self._seconds = round(time.monotonic() - self._began if took is None else took, 3)

    @property
    def fails(self) -> bool:
        """Return whether something failed."""
        return any(answer.status is Status.FAILED for answer in self._settled)

    def lines(self, blamed: bool) -> Iterator[Line]:
        """Yield the lines; with `blamed` a skipped one says as a failure what it was skipped for."""
        for given in self._settled:
            answer = failure(given.what, given.cause) if blamed and given.cause else given
            yield line_of(self._check.name, answer, self._seconds)

    def _run(self, site: Site) -> None:
        found = _guarded(lambda: self._check.run(site), self._check.what)
        for answer in found:
            self._answers.append(answer)
        self._took = time.monotonic() - self._began


def _guarded(check: Callable[[], Iterator[Answer]], what: str) -> Iterator[Answer]:
    try:
        yield from check()
    except SkippedError as reason:
        yield Answer(what, Status.SKIPPED, str(reason), cause=reason.cause)
    except MigrateKitError as error:
        yield failure(what, error)
    except Exception as error:
        # A check that is wrong itself is one line of the report, too, never the end of it.
        code = OperationFailedError.exit_code
        yield failed(what, f"the check itself failed: {type(error).__name__}: {error}", "report this", code)
