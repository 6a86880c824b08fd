"""When CloudStack is asked again: while its management server restarts, limits calls, or a resource is busy.

All of it: nobody else repeats a call to CloudStack. `Cloud` asks a Patience before each repetition; what a restart of
CloudStack may end is done `through_restarts`; and what came of a lost answer is looked for by `await_result`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from migratekit_core.adapters.cloudstack.refusals import retry_after
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError, UnreachableError
from migratekit_core.common.patience import growing

T = TypeVar("T")

READING = ("list", "query", "get")
"""How the names of commands begin that change nothing, and may be sent again whatever became of them."""
RESTARTS = 3
"""How many restarts of CloudStack one call outlives: what a restart has ended is looked for, and done again."""
FIRST_POLL, LONGEST_POLL = 0.1, 2.0
LONGEST_WAIT = 120.0
"""Seconds that are waited at most for one more call, whatever a refusal says."""


class NeverSentError(UnreachableError):
    """No connection came about, so CloudStack has not seen the call."""


class LostJobError(OperationFailedError):
    """CloudStack took a call and said nothing that can be read, or does not know its job any more, or does not end it:
    it may have done its work, or not."""


class InterruptedJobError(LostJobError):
    """CloudStack was restarted during a job. Nobody works on it any more: what became of it has to be looked for."""


@dataclass(frozen=True)
class Patience:
    """How long one call is tried again, in seconds; 0: not at all."""

    outage: float = 150.0
    """While nothing answers: a restarting management server refused connections for 70 to 107 s (recorded)."""
    throttled: float = 600.0
    """While CloudStack says "retry after"."""
    busy: float = 60.0
    """While a resource is at work, or passes from one state to another."""
    nonsense: float = 120.0
    """While a job is asked for, and the server answers something else than its API."""
    job: float = 3600.0
    """Until an asynchronous job counts as lost; copying a large volume on secondary storage takes long."""

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
            return growing(attempt, 0.5, 3.0) if waited < self.outage else None
        # A refusal: nothing was done.
        if error.code is ErrorCode.WRONG_STATE and not command.startswith(READING):
            return growing(attempt, 0.5, 3.0) if waited < self.busy else None
        return None


AT_ONCE = Patience(outage=0.0, throttled=30.0, busy=0.0)
"""For what somebody waits for, and asks again by himself."""


def poll_pause(polls: int, throttled: bool) -> float:
    """Return the seconds between two questions for a job, after this many: soon at first, for most are quick.

    Polls count as calls: where calls are limited, fewer of them leave more for what is done.
    """
    return LONGEST_POLL if throttled else min(LONGEST_POLL, FIRST_POLL * 1.5 ** min(polls - 1, 16))


def through_restarts(act: Callable[[], T], look: Callable[[], T | None] = lambda: None) -> T:
    """Return what `act` returns. What a restart of CloudStack has ended is looked for, and else done again.

    Raises what `act` raises: InterruptedJobError where one restart more than RESTARTS came.
    """
    for again in range(RESTARTS + 1):
        try:
            return act()
        except InterruptedJobError:
            found = look()
            if found is not None:
                return found
            if again == RESTARTS:
                raise
    raise AssertionError("the last round returns or raises")


def await_result(look: Callable[[], T | None], seconds: float) -> T | None:
    """Return what `look` finds within `seconds`, else None; a cloud that does not answer meanwhile is asked again."""
    began = time.monotonic()
    for asked in count(1):
        try:
            found = look()
        except UnreachableError:
            found = None
        if found is not None or time.monotonic() - began >= seconds:
            return found
        time.sleep(growing(asked, FIRST_POLL, LONGEST_POLL))
    raise AssertionError("count does not end")
