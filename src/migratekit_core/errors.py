"""One error hierarchy. Every error says what happened, why, and what to do; its class fixes the exit code.

Exit codes are part of the interface (docs/exit-codes.md); scripts branch on them.
"""

from __future__ import annotations


class MigrateKitError(Exception):
    """Something an operator has to know about.

    `what` is one line naming the thing that failed, `why` the cause as far as it is known, `todo` the next step.
    None of the three may hold a secret: they go to terminals, logs and the joblog.
    """

    exit_code = 1

    def __init__(self, what: str, why: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo
        self.reasons: tuple[str, ...] = ()
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


def from_fields(what: str, why: str, todo: str, exit_code: int) -> MigrateKitError:
    """Return the error that another process (the engine, the daemon) reported, as the class it was there."""
    return _BY_EXIT_CODE.get(exit_code, OperationFailedError)(what, why, todo)
