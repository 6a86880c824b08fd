"""Works on several disks of a machine at once; the first error stops the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from migratekit_core.engine.process import Engines
from migratekit_core.joblog import Job
from migratekit_core.joblog.cancel import watched

Item = TypeVar("Item")
Result = TypeVar("Result")

PARALLEL_DISKS = 4
"""Disks of one machine at once: more only compete for the same host's NFC and the same link."""


def each_disk(items: Sequence[Item], one: Callable[[Item], Result], engines: Engines, job: Job) -> list[Result]:
    """Return what `one` returned for each item. Raises the error that came first, KeyboardInterrupt, or CancelledError
    where somebody asked the job to stop; by then all `engines` have been stopped."""
    with watched(job, engines.stop):
        return _each(items, one, engines)


def _each(items: Sequence[Item], one: Callable[[Item], Result], engines: Engines) -> list[Result]:
    with ThreadPoolExecutor(PARALLEL_DISKS, thread_name_prefix="disk") as pool:
        futures = [pool.submit(one, item) for item in items]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            if not all(future.done() and future.exception() is None for future in futures):
                for future in futures:
                    future.cancel()
                engines.stop()
    errors = [error for future in futures if not future.cancelled() and (error := future.exception())]
    # The one that stopped the others first: they only tell that they were stopped.
    errors.sort(key=lambda error: isinstance(error, KeyboardInterrupt))
    if errors:
        raise errors[0]
    return [future.result() for future in futures]
