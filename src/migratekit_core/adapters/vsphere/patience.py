"""When vSphere is asked again, and for how long.

A call that changes something is made once: what became of one without an answer is looked for (`changes.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from pyVmomi import vim, vmodl

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, UnreachableError
from migratekit_core.common.patience import growing

OUTAGE_SECONDS = 150.0
"""For which a call of ours waits for a vCenter that is away, unless `vcenter.patience` is shorter."""
FIRST_LOGIN_SECONDS = 30.0
"""For which the login that begins a command is tried again, unless `vcenter.patience` is shorter."""
FIRST_LOGIN_PAUSES = (1.0, 5.0, 20.0)
"""Seconds between its attempts. Four of them: where none is answered, nobody knows whether the password was wrong, and
vSphere's default policy locks an account out after five within three minutes."""
STARTING = (408, 502, 503, 504)
"""What the proxy before vCenter answers while vCenter itself does not: it starts, or has no session left for us."""
LOGIN_SECONDS = 60.0
"""Between two logins with a password that was refused: five within three minutes lock an account out
(vSphere's default lockout policy)."""

TRANSIENT = (
    vim.fault.NotAuthenticated,
    vmodl.fault.ManagedObjectNotFound,
    vmodl.query.InvalidProperty,
    UnreachableError,
)
"""What ends the pages of the inventory, and not the inventory: their session, and with it their view; a property that
this vSphere is too old for, and that was left out; a broken connection."""


class UnansweredError(UnreachableError):
    """A call that changes something got no answer: it was carried out, or not, or will be."""


@dataclass(frozen=True)
class Patience:
    """For how many seconds the inventory is asked for again without a single new object."""

    longest: float = 30.0
    first: float = 0.5
    """Seconds before the second attempt; it doubles."""

    def pause(self, error: Exception, failures: int, waited: float) -> float | None:
        """Return how many seconds to wait before the next attempt, after `failures` in a row; None: there is none."""
        if not isinstance(error, TRANSIENT):
            return None
        pause = growing(failures, self.first, 8 * self.first)
        return pause if waited + pause <= self.longest else None


@dataclass(frozen=True)
class Calls:
    """For how many seconds a call is made again that was certainly not carried out, or that only reads."""

    seconds: float
    undoing: bool = False
    """Whether it takes something back: then a login that is refused, and a certificate that is not trusted, may be put
    right meanwhile."""

    def longest(self, error: MigrateKitError) -> float:
        """Return for how many seconds in all a call that ended with this error is made again."""
        return self.seconds

    def pause(self, error: MigrateKitError, command: str, waited: float, attempt: int) -> float | None:
        """Return how many seconds to wait before a call is made again; None where it must not be, or long enough was.

        `waited`: seconds since it was first made; `attempt`: how often it was, from 1.
        """
        if isinstance(error, UnansweredError):
            return None
        if error.code is ErrorCode.VCENTER_LOGIN_REFUSED:
            pause = LOGIN_SECONDS if self.undoing else None
        elif error.code is ErrorCode.VCENTER_UNTRUSTED:
            pause = growing(attempt, 0.5, 15.0) if self.undoing else None
        elif error.code in (ErrorCode.VCENTER_UNREACHABLE, ErrorCode.VCENTER_SESSION_ENDED):
            pause = growing(attempt, 0.5, 15.0 if self.undoing else 4.0)
        else:
            pause = None
        return pause if pause is not None and waited + pause <= self.seconds else None


@dataclass(frozen=True)
class FirstLogin:
    """The same for the login of a command that begins. Tried again is what was reached: vCenter starts (STARTING), is
    not ready, broke the connection off, or is late. Not who was not reached at all, for the settings may be wrong."""

    seconds: float

    def longest(self, error: MigrateKitError) -> float:
        """Return for how many seconds in all a login that ended with this error is tried again."""
        return self.seconds

    def pause(self, error: MigrateKitError, command: str, waited: float, attempt: int) -> float | None:
        """Return how many seconds to wait before the next login, None where there is none; arguments as of `Calls`."""
        facts = error.facts
        passes = facts.get("status") in STARTING or facts.get("connected") is True or "fault" in facts
        if error.code is not ErrorCode.VCENTER_UNREACHABLE or not passes or attempt > len(FIRST_LOGIN_PAUSES):
            return None
        pause = FIRST_LOGIN_PAUSES[attempt - 1]
        # Whoever waits at all tries twice, even where the first attempt ended with a time-out as long as this.
        return pause if self.seconds and (attempt == 1 or waited + pause <= self.seconds) else None


@dataclass(frozen=True)
class CallMode:
    """How patient the calls of this thread are, instead of the connection's usual patience."""

    undoing: bool = False
    at_once: bool = False
    note: Callable[[str], None] | None = None
    """Told in a line for people what is waited for."""


USUAL = CallMode()
_mode: ContextVar[CallMode] = ContextVar("call_mode", default=USUAL)


def call_mode() -> CallMode:
    """Return how patient the calls of this thread are."""
    return _mode.get()


@contextmanager
def in_mode(wanted: CallMode) -> Iterator[None]:
    """Have the calls within the block be so patient."""
    token = _mode.set(wanted)
    try:
        yield
    finally:
        _mode.reset(token)
