"""Places that hold across the whole fleet: leases of Dask's semaphores, which the scheduler keeps.

A lease that its holder does not refresh is free again after the fleet's lease time. So a holder that cannot refresh has
to have stopped before: `refresh` raises where it could not. The leases of all machines of a worker are refreshed
together; which of several leases of one place is whose does not matter. All of it happens on the worker's event loop.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

from distributed import Semaphore, Worker
from distributed.utils import sync

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.services.waves.places import Need

CALL_SECONDS = 10.0
"""What a call of the scheduler may take at most."""


class Leases:
    """The places of one worker. Used by the threads of its machines."""

    def __init__(self, worker: Worker, seconds: float) -> None:
        """`seconds`: the fleet's lease time."""
        self._worker = worker
        self._patience = min(CALL_SECONDS, seconds / 4)
        self._often = seconds / 10
        self._late = 0.75 * seconds
        self._places: dict[Need, Any] = {}
        self._lock = threading.Lock()
        self._refreshed = 0.0

    def take(self, wanted: Sequence[Need]) -> bool:
        """Take all places, in order, or none: return whether they were free. Nobody waits while holding something.

        Raises UnreachableError where the scheduler does not answer.
        """
        return bool(self._call(self._take, wanted=wanted))

    async def _take(self, wanted: Sequence[Need]) -> bool:
        if not any(place._leases for place in self._places.values()):
            self._refreshed = time.monotonic()
        units = _units(wanted)
        for number, need in enumerate(units):
            try:
                got = await self._acquire(need)
            except BaseException:
                await self._release(units[:number])
                raise
            if not got:
                await self._release(units[:number])
                return False
        return True

    def refresh(self) -> float:
        """Refresh all leases, if that was not done just now; return when it was (`time.monotonic`). Raises
        UnreachableError where the scheduler does not answer, and where it is too late for it."""
        with self._lock:
            if time.monotonic() - self._refreshed < self._often:
                return self._refreshed
            begun = time.monotonic()
            if begun - self._refreshed > self._late:
                # To refresh now would bring back leases that others may have got meanwhile.
                raise UnreachableError(
                    "the places of this worker may be somebody else's",
                    f"it could not refresh its leases for {begun - self._refreshed:.0f} s",
                    "nothing: what it worked on goes on elsewhere; is this host overloaded?",
                    code=ErrorCode.CLAIM_LOST,
                )
            self._call(self._refresh)
            self._refreshed = begun
            return begun

    async def _refresh(self) -> None:
        for place in list(self._places.values()):
            await place._refresh_leases()

    def give(self, wanted: Sequence[Need]) -> None:
        """Give places back, the last one first; what the scheduler does not hear of runs out by itself."""
        with contextlib.suppress(UnreachableError):
            self._call(self._give, wanted=wanted)

    async def _give(self, wanted: Sequence[Need]) -> None:
        await self._release(_units(wanted))

    async def _release(self, units: Sequence[Need]) -> None:
        for need in reversed(units):
            place = self._places.get(need)
            if place is not None and place._leases:
                await place._release(lease_id=place._leases.popleft())

    async def _acquire(self, need: Need) -> bool:
        known = need in self._places
        try:
            return bool(await self._place(need)._acquire(timeout=0))
        except (RuntimeError, ValueError):
            # Between two waves with other limits the driver has the scheduler forget all places.
            if not known:
                raise
            del self._places[need]
            return bool(await self._place(need)._acquire(timeout=0))

    def _place(self, need: Need) -> Any:
        found = self._places.get(need)
        if found is None:
            found = Semaphore(need.most, need.name, scheduler_rpc=self._worker.scheduler, loop=self._worker.loop)
            # Dask would refresh by itself as well; what it does not tell is whether it could.
            self._worker.loop.add_callback(found.refresh_callback.stop)
            self._places[need] = found
        return found

    def _call(self, function: Any, **arguments: Any) -> Any:
        try:
            return sync(self._worker.loop, function, callback_timeout=self._patience, **arguments)
        except (OSError, TimeoutError, RuntimeError, ValueError) as error:
            raise UnreachableError(
                "the fleet's scheduler does not answer",
                f"{type(error).__name__}: {error}",
                "is it up? fleet status",
                code=ErrorCode.SCHEDULER_UNREACHABLE,
            ) from None


def _units(wanted: Sequence[Need]) -> list[Need]:
    """Return each place as often as it is taken: a lease is of one."""
    return [need for need in wanted for _ in range(need.number)]


def held(extension: Any) -> dict[str, tuple[int, int]]:
    """Return how many leases of each semaphore are held, and how many there are, from the scheduler's own books."""
    return {
        str(name): (len(extension.leases.get(name, ())), most) for name, most in sorted(extension.max_leases.items())
    }


def forget(names: Sequence[str], client: Any) -> None:
    """Have the scheduler forget places, so that others may have other limits; nobody may hold one."""
    for name in names:
        place = Semaphore(1, name, scheduler_rpc=client.scheduler, loop=client.loop)
        place.close()
