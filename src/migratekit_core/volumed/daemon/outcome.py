"""What became of a call to CloudStack whose answer never came: it may have been carried out, so it is looked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_exponential

from migratekit_core.adapters.cloudstack.client import InterruptedJobError, LostJobError
from migratekit_core.adapters.cloudstack.patience import RESTARTS
from migratekit_core.common.errors import MigrateKitError, UnreachableError

T = TypeVar("T")


def ascertain(act: Callable[[], T], look: Callable[[], T | None], seconds: float) -> T:
    """Return what `act` returns; where it failed, but `look` finds that it was done, what `look` returns.

    A refusal is looked after once: the call of a daemon that was killed may have come first. An answer that never came
    (a timeout, a lost job) is looked after for `seconds`: CloudStack may still be at it, and its lists lag behind. A
    job that a restart of CloudStack has ended is looked after once, too, and what it has not done is done again.
    Raises what `act` raised where nothing is found.
    """
    for again in range(RESTARTS + 1):
        failure: MigrateKitError
        try:
            return act()
        except InterruptedJobError as error:
            found, failure = await_result(look, 0), error
            if found is None and again < RESTARTS:
                continue
        except (UnreachableError, LostJobError) as error:
            found, failure = await_result(look, seconds), error
        except MigrateKitError as error:
            found, failure = look(), error
        if found is None:
            raise failure
        return found
    raise AssertionError("the last round returns or raises")


def await_result(look: Callable[[], T | None], seconds: float) -> T | None:
    """Return what `look` finds within `seconds`, else None; a cloud that does not answer meanwhile is asked again."""
    try:
        return Retrying(
            retry=retry_if_result(lambda found: found is None) | retry_if_exception_type(UnreachableError),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(seconds),
            retry_error_callback=lambda state: None,
        )(look)
    except UnreachableError:
        return None


def attempt(act: Callable[[], object]) -> MigrateKitError | None:
    """Do something that may fail without changing the outcome; return its error."""
    try:
        act()
    except MigrateKitError as error:
        return error
    return None
