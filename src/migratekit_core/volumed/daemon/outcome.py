"""What became of a call to CloudStack whose answer never came: it may have been carried out, so it is looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from migratekit_core.adapters.cloudstack.patience import (
    InterruptedJobError,
    LostJobError,
    await_result,
    through_restarts,
)
from migratekit_core.common.errors import MigrateKitError, UnreachableError

T = TypeVar("T")


def ascertain(act: Callable[[], T], look: Callable[[], T | None], seconds: float) -> T:
    """Return what `act` returns; where it failed, but `look` finds that it was done, what `look` returns.

    A refusal is looked after once: the call of a daemon that was killed may have come first. An answer that never came
    (a timeout, a lost job) is looked after for `seconds`: CloudStack may still be at it, and its lists lag behind. A
    job that a restart of CloudStack has ended is looked after once, too, and what it has not done is done again.
    Raises what `act` raised where nothing is found.
    """
    failure: MigrateKitError
    try:
        return through_restarts(act, lambda: await_result(look, 0))
    except InterruptedJobError:
        raise
    except (UnreachableError, LostJobError) as error:
        found, failure = await_result(look, seconds), error
    except MigrateKitError as error:
        found, failure = look(), error
    if found is None:
        raise failure
    return found


def attempt(act: Callable[[], object]) -> MigrateKitError | None:
    """Do something that may fail without changing the outcome; return its error."""
    try:
        act()
    except MigrateKitError as error:
        return error
    return None
