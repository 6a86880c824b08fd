"""Asking again while somebody is away, busy, or limits calls. Whom, when and how long, a policy says: CloudStack's is
adapters.cloudstack.patience, the volume daemon's volumed.patience, vSphere's adapters.vsphere.patience."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Protocol, TypeVar

from migratekit_core.common.errors import MigrateKitError

T = TypeVar("T")

QUIET_SECONDS = 2.0
"""How long waiting is nobody's concern: then it is said what is waited for."""


class Policy(Protocol):
    """What may be asked again."""

    def longest(self, error: MigrateKitError) -> float:
        """Return for how many seconds in all a call that ended with this error is sent again."""

    def pause(self, error: MigrateKitError, command: str, waited: float, attempt: int) -> float | None:
        """Return how many seconds to wait before a call is sent again; None where it must not be, or long enough was.

        `waited`: seconds since the call was first sent; `attempt`: how often it was, from 1.
        """


def patiently(
    policy: Policy,
    command: str,
    ask: Callable[[], T],
    note: Callable[[str], None] | None,
    quiet: float = QUIET_SECONDS,
) -> T:
    """Return what `ask` returns, asked again as the policy allows; raise its last error otherwise.

    `note` is told once, in a line for people, what is waited for, as soon as that takes `quiet` seconds.
    """
    began, said = time.monotonic(), False
    for attempt in count(1):
        try:
            return ask()
        except MigrateKitError as error:
            waited = time.monotonic() - began
            pause = policy.pause(error, command, waited, attempt)
            if pause is None:
                raise
            if note is not None and not said and waited + pause >= quiet:
                said = True
                note(f"waiting, up to {policy.longest(error):.0f} s: {error.what} ({error.why})")
            time.sleep(pause)
    raise AssertionError("count does not end")


def growing(attempt: int, first: float, most: float) -> float:
    """Return how long to wait after this attempt, from 1: `first`, and twice as long each time, at most `most`."""
    return min(most, first * 2.0 ** min(attempt - 1, 16))
