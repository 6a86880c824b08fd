"""What a preflight looks at, one finding for each; and the error that tells all that stand in the way at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import Hint, hint

OK, WARNING, FAILED, UNCHECKED = "ok", "warning", "failed", "unchecked"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    """ok, warning (it works, but somebody should know), failed, or unchecked (nobody could look)."""
    detail: str
    todo: Hint | str = ""


def failed(name: str, problems: Iterable[str], todo: Hint | str) -> list[Check]:
    """Return a failed check for each problem."""
    return [Check(name, FAILED, problem, todo) for problem in dict.fromkeys(problems)]


def judged(name: str, problems: Iterable[str], fine: str, todo: Hint | str) -> list[Check]:
    """Return a failed check for each problem, or one that says what is fine."""
    return failed(name, problems, todo) or [Check(name, OK, fine)]


class RefusedError(PreconditionError):
    """A preflight failed; `reasons` has all that stands in the way."""

    def __init__(self, what: str, checks: Iterable[Check]) -> None:
        found = [check for check in checks if check.state == FAILED]
        todo: Hint | str = (
            "mend each of these, then run the command again" if len(found) > 1 else found[0].todo if found else ""
        )
        super().__init__(
            what,
            "; ".join(check.detail for check in found),
            todo,
            code=ErrorCode.PREFLIGHT_FAILED,
            facts={"checks": len(found)},
        )
        self.reasons = tuple(
            hint(check.detail, " (", check.todo, ")") if check.todo else hint(check.detail) for check in found
        )
