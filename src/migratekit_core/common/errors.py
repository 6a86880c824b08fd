"""One error hierarchy. Every error says what happened, why, and what to do; its class fixes the exit code.

Exit codes are part of the interface (docs/exit-codes.md); scripts branch on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from migratekit_core.common import hints
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.hints import Hint, hint

Fact = str | int | float | bool | None
"""A plain value that an error is about: a name, an id, a number of bytes."""

ERROR_FILE = "MIGRATEKIT_ERROR_FILE"
"""Variable that names a file. A command that fails writes there what it says of it, and the code, as JSON: for the
process that started it."""


class MigrateKitError(Exception):
    """Something an operator has to know about.

    `what` is one line naming the thing that failed, `why` the cause as far as it is known, `todo` the next step.
    `code` says what it is to programs, and `facts` what it is about, by name. Nothing of it may hold a secret: it goes
    to terminals, logs and the joblog.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        why: str = "",
        todo: Hint | str = "",
        *,
        code: ErrorCode,
        facts: Mapping[str, Fact] | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = hint(todo)
        self.code = code
        self.facts: dict[str, Fact] = dict(facts or {})
        self.reasons: tuple[Hint, ...] = ()
        """Where several things are wrong at once: each of them, and what to do about it; `why` has them in one line."""

    def __str__(self) -> str:
        return f"{self.what}: {self.why}" if self.why else self.what


class OperationFailedError(MigrateKitError):
    """The work was possible and allowed, and failed."""

    exit_code = 1


class UsageError(MigrateKitError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class PreconditionError(MigrateKitError):
    """The command is right, but the machine, the cloud or the data is not in the state it needs."""

    exit_code = 4


class AuthError(MigrateKitError):
    """A password, key, certificate or permission was refused."""

    exit_code = 5


class UnreachableError(MigrateKitError):
    """A service does not answer."""

    exit_code = 6


class OmaUnreachableError(UnreachableError):
    """A service of the OMA does not answer; where a tunnel leads there, that may be why."""


class SchemaMismatchError(MigrateKitError):
    """A database does not have the tables and columns this version writes."""

    exit_code = 7


class BusyError(MigrateKitError):
    """Another run holds what this one needs."""

    exit_code = 8


INTERRUPTED_EXIT_CODE = 130


class CancelledError(MigrateKitError):
    """The run was asked to stop (Ctrl-C, SIGTERM, another command) and says what state it left."""

    exit_code = INTERRUPTED_EXIT_CODE


_BY_EXIT_CODE: dict[int, type[MigrateKitError]] = {
    kind.exit_code: kind
    for kind in (
        OperationFailedError,
        UsageError,
        PreconditionError,
        AuthError,
        UnreachableError,
        SchemaMismatchError,
        BusyError,
        CancelledError,
    )
}


_CODES = frozenset(code.value for code in ErrorCode)


def to_fields(error: MigrateKitError) -> dict[str, Any]:
    """Return an error for JSON, with secrets masked; `from_fields` makes an error of it."""
    # Within: the engine starts without it.
    from migratekit_core.common.redact import redact

    return {
        "what": redact(error.what),
        "why": redact(error.why),
        "todo": redact(str(error.todo)),
        "exit_code": error.exit_code,
        "code": error.code.value,
        "facts": {name: redact(fact) if isinstance(fact, str) else fact for name, fact in error.facts.items()},
        "hint": error.todo.mapped(redact).fields(),
    }


def from_fields(fields: Mapping[str, Any]) -> MigrateKitError:
    """Return the error that another process (the engine, the daemon) reported, as the class it was there.

    Without `code`, `facts` and `hint`, as a former version wrote it, it is `unknown`; so is a code that this version
    does not know, as a newer process may send.
    """
    kind = _BY_EXIT_CODE.get(fields["exit_code"], OperationFailedError)
    code = ErrorCode(fields["code"]) if fields.get("code") in _CODES else ErrorCode.UNKNOWN
    return kind(fields["what"], fields["why"], hints.from_fields(fields), code=code, facts=fields.get("facts"))
