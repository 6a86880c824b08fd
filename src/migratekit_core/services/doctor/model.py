"""What a check is, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError
from migratekit_core.common.hints import Hint, hint
from migratekit_core.common.redact import mask_known, redact
from migratekit_core.config.schema import Config

if TYPE_CHECKING:
    from migratekit_core.services.doctor.site import Site


class Status(StrEnum):
    """How a line ends."""

    OK = "ok"
    WARNING = "warning"
    """A run works today."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Not looked at, because something that comes before it failed."""


@dataclass(frozen=True)
class Answer:
    """What a check found about one thing."""

    what: str
    status: Status
    found: str
    todo: Hint | str = ""
    exit_code: int = 0
    """What a command that needs it would end with; 0 unless failed."""
    cause: MigrateKitError | None = None
    """Of a skipped one: what it was skipped for."""
    code: ErrorCode | None = None
    """Of a failed one that an error is behind: what it is, for programs."""


@dataclass(frozen=True)
class Line:
    """An answer, with the check that gave it and the seconds that it took."""

    check: str
    topic: str
    what: str
    status: Status
    found: str
    todo: Hint
    exit_code: int
    seconds: float
    code: str = ""
    """Of a failed one: what its error is (ErrorCode); "" where there is none, and unless failed."""


class SkippedError(Exception):
    """A check cannot be made, since what it needs is not there; `cause` is what another check fails with."""

    def __init__(self, reason: str, cause: MigrateKitError | None = None) -> None:
        super().__init__(reason)
        self.cause = cause


CheckFunction = Callable[["Site"], Iterator[Answer]]
Applies = Callable[[Config], bool]


@dataclass(frozen=True)
class Check:
    """A check: `name` is `topic.thing`, and stays what it is from version to version."""

    name: str
    what: str
    """What the line is called where the check itself fails."""
    applies: Applies
    run: CheckFunction

    @property
    def topic(self) -> str:
        """Return what the check is about."""
        return self.name.partition(".")[0]


CHECKS: list[Check] = []
"""All checks in the order of the report, filled as the modules of `checks/` are imported."""


def always(config: Config) -> bool:
    """Apply to every host."""
    return True


def check(name: str, what: str, applies: Applies = always) -> Callable[[CheckFunction], CheckFunction]:
    """Make a check of a function; it yields answers, and may raise our errors, each of which is a failed line."""

    def register(function: CheckFunction) -> CheckFunction:
        assert all(name != other.name for other in CHECKS), f"two checks have the name {name}"
        CHECKS.append(Check(name, what, applies, function))
        return function

    return register


def ok(what: str, found: str) -> Answer:
    """Return the answer that all is well."""
    return Answer(what, Status.OK, found)


def warning(what: str, found: str, todo: Hint | str) -> Answer:
    """Return the answer that something will be wrong, or may be."""
    return Answer(what, Status.WARNING, found, todo)


def failed(what: str, found: str, todo: Hint | str, exit_code: int = PreconditionError.exit_code) -> Answer:
    """Return the answer that a run cannot work so."""
    return Answer(what, Status.FAILED, found, todo, exit_code)


def failure(what: str, error: MigrateKitError) -> Answer:
    """Return the answer that an error was raised."""
    found = f"{error.what}: {error.why}" if error.why else error.what
    return Answer(what, Status.FAILED, found, error.todo, error.exit_code, code=error.code)


def line_of(check: str, answer: Answer, seconds: float) -> Line:
    """Return an answer of a check as its line, with secrets masked."""
    failed_one = answer.status is Status.FAILED
    return Line(
        check=check,
        topic=check.partition(".")[0],
        what=answer.what,
        status=answer.status,
        found=redact(answer.found),
        todo=hint(answer.todo).mapped(mask_known),
        exit_code=answer.exit_code if failed_one else 0,
        seconds=seconds,
        code=answer.code.value if failed_one and answer.code is not None else "",
    )
