"""What a worker does with one machine: places, claim, process, signs of life, outcome. The task brings ids only."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from distributed import get_worker
from sqlmodel import col, func, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    BusyError,
    CancelledError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
    UnreachableError,
)
from migratekit_core.common.hints import hint
from migratekit_core.db.engine import write
from migratekit_core.db.models.waves import WaveAttempt
from migratekit_core.db.wavestates import CUTOVER, GIVEN_BACK, REPLICATE, ROLLBACK, TASKS
from migratekit_core.services.fleet import grants
from migratekit_core.services.fleet import version as ours
from migratekit_core.services.fleet.child import Work
from migratekit_core.services.fleet.leases import Leases
from migratekit_core.services.fleet.process import Running
from migratekit_core.services.fleet.site import SITES, Site
from migratekit_core.services.waves import claims
from migratekit_core.services.waves.claims import Claim, LostClaimError
from migratekit_core.services.waves.model import Machine, Wave
from migratekit_core.services.waves.places import needs

LOOK_SECONDS = 0.2
SHARE_SECONDS = 1.0
"""How often a machine's share of the bandwidth is looked at."""
MOST_SETBACKS = 10
"""A machine whose process, or worker, died so often within one task is not begun again."""
MOST_UNREACHABLE = 3

DONE, FAILED, CANCELLED = "done", "failed", "cancelled"
NO_PLACE, NO_CLAIM, AGAIN, LOST = "no-place", "no-claim", "again", "lost"
"""Outcomes: nothing was begun, for a place or the machine was taken; it was given back; its claim was lost."""


def work(wave: str, vm: str, task: str, version: str, again: int | None = None) -> str:
    """Do a task with a machine of a wave, in a thread of a worker; return the outcome.

    Every argument is a name or an id; `again`: how many attempts a machine had that has done the task and is to do it
    once more. What came of it is in the database already. Raises PreconditionError where this
    worker is of another version than the scheduler that sent the task.
    """
    worker = get_worker()
    site = SITES[str(worker.name)]
    if version != ours():
        raise PreconditionError(
            f"worker {site.name} is of another version",
            f"it has {ours()}, the scheduler {version}",
            "update it",
            code=ErrorCode.FLEET_VERSION,
            facts={"worker": site.name},
        )
    if site.stopping.is_set():
        return NO_PLACE
    found = site.wave(wave)
    machine = found.machine(vm)
    places, wanted = site.places(worker), needs(machine, found.limits, task)
    begun = time.monotonic()
    try:
        if not places.take(wanted):
            return NO_PLACE
    except UnreachableError:
        return AGAIN
    try:
        held = claims.claim(site.engine, wave, vm, task, site.name, again=again)
        if held is None:
            return NO_CLAIM
        try:
            return _Watch(site, places, held, found, machine, begun).run()
        except LostClaimError:
            return LOST
    except UnreachableError:
        return AGAIN
    finally:
        places.give(wanted)


class _Watch:
    """One machine, from its claim to its outcome."""

    def __init__(self, site: Site, places: Leases, held: Claim, wave: Wave, machine: Machine, alive: float) -> None:
        """`alive`: when it was begun to take places and claim."""
        self._site, self._places, self._held = site, places, held
        self._wave, self._machine = wave, machine
        self._lease = site.fleet.lease
        # What moves no data needs no share of the bandwidth.
        self._total = wave.limits.bandwidth if held.task in (REPLICATE, CUTOVER) else None
        self._cancel = False
        self._shared = 0.0
        # Taking them was a sign of life. Times are from before they are asked for: nobody waits less long than we do.
        self._alive = alive

    def run(self) -> str:
        """Return the outcome. Raises LostClaimError, UnreachableError where the database or the scheduler is gone."""
        try:
            rate = self._first_share()
            if self._total is not None and rate is None:
                return self._give_back()
            self._beat(None)
            running = self._site.launch(self._work(rate))
            try:
                self._watch(running)
            finally:
                # Before the machine and its places are somebody else's, whatever happened.
                running.kill()
            return self._close(running)
        except UnreachableError:
            # The scheduler is gone, or the database: what of the two is there hears that the machine is free.
            with contextlib.suppress(MigrateKitError):
                self._give_back()
            raise
        finally:
            if self._total is not None:
                grants.leave(self._site.engine, self._held.token)

    def _work(self, rate: int | None) -> Work:
        networks = {name: self._wave.networks[name] for name in (self._machine.networks,) if name}
        # Dead well before its places and its claim are somebody else's.
        silence = 0.75 * self._lease
        verify = self._wave.must_pass.verify
        return Work(self._held.task, self._machine, networks, verify, rate, silence, self._alive)

    def _first_share(self) -> int | None:
        """Wait for a share of the bandwidth, which the others have to give up first; None where it is to stop."""
        if self._total is None:
            return None
        while True:
            rate = grants.settle(self._site.engine, self._held.token, self._total, self._lease, 0, 0)
            if rate:
                return rate
            self._beat(None)
            if self._cancel or self._site.stopping.is_set() or self._site.leaving.is_set():
                return None
            time.sleep(SHARE_SECONDS / 2)

    def _watch(self, running: Running) -> None:
        stopped = False
        while not running.wait(LOOK_SECONDS):
            if self._site.leaving.is_set():
                return
            self._beat(running)
            self._share(running)
            # A cut-over or a rollback that was begun goes on to its end: half-way is where nobody wants to be.
            ends = self._site.stopping.is_set() and self._held.task not in (CUTOVER, ROLLBACK)
            if (self._cancel or ends) and not stopped:
                stopped = True
                running.stop()

    def _beat(self, running: Running | None) -> None:
        """Give signs of life, to the database and the scheduler; only then has the process one, too."""
        begun = time.monotonic()
        if begun - self._alive < self._lease / 5:
            return
        news = running.news if running is not None else None
        told: dict[str, Any] = {}
        if news is not None:
            told = {"done": news.done or None, "total": news.total or None, "rate": news.rate, "job_id": news.job_id}
        orders = claims.heartbeat(self._site.engine, self._held, **told)
        # Places that another machine of this worker has refreshed just now count from then.
        self._alive = min(begun, self._places.refresh())
        if running is not None:
            running.alive(self._alive)
        self._cancel = self._cancel or orders.cancel

    def _share(self, running: Running) -> None:
        if self._total is None or time.monotonic() - self._shared < SHARE_SECONDS:
            return
        self._shared = time.monotonic()
        news = running.news
        if news.limit is None:
            return
        rate = grants.settle(self._site.engine, self._held.token, self._total, self._lease, news.limit, news.rate)
        if rate and rate != news.limit:
            running.limit(rate)

    def _close(self, running: Running) -> str:
        news, engine, held = running.news, self._site.engine, self._held
        if news.result is not None:
            claims.finish(engine, held, done=news.done, result=news.result)
            return DONE
        # A command ends as soon as its wave is cancelled: nobody may have asked since.
        if self._cancel or (self._site.stopping.is_set() and claims.heartbeat(engine, held).cancel):
            claims.cancelled(engine, held, news.error)
            return CANCELLED
        if self._site.leaving.is_set() or self._site.stopping.is_set():
            return self._give_back()
        error = news.error
        if error is None:
            if self._setbacks() < MOST_SETBACKS:
                return self._give_back()
            why, often = running.last_words(), MOST_SETBACKS
            by_hand = hint("run it by hand: ", TASKS[held.task].command.plus(held.vm_name))
            todo = by_hand.bound([*self._machine.options, "--debug"])
            error = OperationFailedError(
                f"the process of {held.vm_name} died {often} times",
                why,
                todo,
                code=ErrorCode.PROCESS_DIED,
                facts={"vm": held.vm_name},
            )
        elif isinstance(error, BusyError):
            return self._give_back(error)
        elif isinstance(error, CancelledError) or (
            isinstance(error, UnreachableError) and self._setbacks() < MOST_UNREACHABLE
        ):
            return self._give_back()
        claims.fail(engine, held, error)
        return FAILED

    def _give_back(self, error: BusyError | None = None) -> str:
        claims.give_back(self._site.engine, self._held, error)
        return AGAIN

    def _setbacks(self) -> int:
        """Return how often this task with this machine has ended without a word."""
        query = (
            select(func.count())
            .select_from(WaveAttempt)
            .where(WaveAttempt.machine_id == self._held.machine_id, WaveAttempt.task == self._held.task)
            .where(col(WaveAttempt.outcome).in_((claims.LOST, GIVEN_BACK)))
        )
        return write(self._site.engine, lambda db: db.exec(query).one())
