"""When CloudStack is asked again: while its management server restarts, limits calls, or a resource is busy."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.adapters.cloudstack.refusals import retry_after
from migratekit_core.common.errors import ErrorCode, MigrateKitError, UnreachableError

READING = ("list", "query", "get")
"""How the names of commands begin that change nothing, and may be sent again whatever became of them."""
RESTARTS = 3
"""How many restarts of CloudStack one call outlives: what a restart has ended is looked for, and done again."""
LONGEST_WAIT = 120.0
"""Seconds that are waited at most for one more call, whatever a refusal says."""


class NeverSentError(UnreachableError):
    """No connection came about, so CloudStack has not seen the call."""


@dataclass(frozen=True)
class Patience:
    """How long one call is tried again, in seconds; 0: not at all."""

    outage: float = 150.0
    """While nothing answers: a restarting management server refused connections for 70 to 107 s (recorded)."""
    throttled: float = 600.0
    """While CloudStack says "retry after"."""
    busy: float = 60.0
    """While a resource is at work, or passes from one state to another."""

    def longest(self, error: MigrateKitError) -> float:
        """Return for how many seconds in all a call that ended with this error is sent again."""
        if error.code is ErrorCode.THROTTLED:
            return self.throttled
        return self.outage if isinstance(error, UnreachableError) else self.busy

    def pause(self, error: MigrateKitError, command: str, waited: float, attempt: int) -> float | None:
        """Return how many seconds to wait before the call is sent again; None where it must not be, or long enough was.

        `waited`: seconds since the call was first sent; `attempt`: how often it was, from 1.
        """
        if error.code is ErrorCode.THROTTLED:
            told = retry_after(error.why)
            pause = min(LONGEST_WAIT, 1.0 if told is None else told + 0.1)
            return pause if waited + pause <= self.throttled else None
        if isinstance(error, NeverSentError) or (isinstance(error, UnreachableError) and command.startswith(READING)):
            return _growing(attempt) if waited < self.outage else None
        # A refusal: nothing was done.
        if error.code is ErrorCode.WRONG_STATE and not command.startswith(READING):
            return _growing(attempt) if waited < self.busy else None
        return None


AT_ONCE = Patience(outage=0.0, throttled=30.0, busy=0.0)
"""For what somebody waits for, and asks again by himself."""


def _growing(attempt: int) -> float:
    return min(3.0, 0.25 * float(2 ** min(attempt, 6)))
