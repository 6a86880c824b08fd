"""When to cut over: at once, at a time, in a window, when the downtime fits, or when the operator says so.

Until then the machine is synced again and again and nothing else is done to it; the wait can be cancelled at any
moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as clock_time
from typing import Any

from migratekit_core.adapters.vsphere.inventory import VirtualMachine, find_vm
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.common.hints import migratekit
from migratekit_core.common.units import human_rate, human_seconds
from migratekit_core.context import Runtime
from migratekit_core.db.locks import Lock
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.failover import control
from migratekit_core.services.failover.downtime import Usual, usual
from migratekit_core.services.replication.sync import SyncResult, sync

POLL_SECONDS = 1.0
TRIES = 3
"""So many syncs in a row that bring the predicted downtime no nearer, and it never fits."""
FAILURES, RETRY_SECONDS = 5, 30.0
"""So many syncs in a row that fail end the wait; between two of them it rests."""
NEARER = 0.95
"""A prediction counts as nearer below this part of the best one before."""


@dataclass(frozen=True)
class Window:
    """A part of the day, in local time; one that begins later than it ends goes over midnight."""

    begin: clock_time
    end: clock_time

    def holds(self, now: datetime) -> bool:
        """Return whether a moment lies in it."""
        at = now.time()
        if self.begin <= self.end:
            return self.begin <= at < self.end
        return at >= self.begin or at < self.end

    def __str__(self) -> str:
        return f"{self.begin:%H:%M}-{self.end:%H:%M}"


def parse_window(text: str) -> Window:
    """Return a window: `22:00-04:00`. Raises ValueError, saying what is allowed."""
    try:
        begin, _, end = text.partition("-")
        window = Window(clock_time.fromisoformat(begin.strip()), clock_time.fromisoformat(end.strip()))
    except ValueError:
        window = None
    if window is None or window.begin == window.end:
        raise ValueError(f"{text!r} is no window: 22:00-04:00, in local time")
    return window


def parse_at(text: str, now: datetime) -> datetime:
    """Return a moment: `22:30` is the next one, `2026-11-24 22:30` that one, in local time where no zone is given.

    Raises ValueError, saying what is allowed, also for a moment that has passed.
    """
    local = now.astimezone()
    try:
        clock = clock_time.fromisoformat(text.strip())
        moment = local.replace(hour=clock.hour, minute=clock.minute, second=clock.second, microsecond=0)
        return moment if moment > local else moment + timedelta(days=1)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text.strip()).astimezone()
    except ValueError:
        raise ValueError(f"{text!r} is no time: 22:30 or 2026-11-24T22:30, in local time") from None
    if moment <= local:
        raise ValueError(f"{moment:%Y-%m-%d %H:%M:%S} has passed")
    return moment


@dataclass(frozen=True)
class When:
    """What has to be so before the source is shut down; all of it."""

    at: datetime | None = None
    """A moment with its zone."""
    window: Window | None = None
    max_downtime: float | None = None
    """Seconds."""
    hold: bool = False

    @property
    def waits(self) -> bool:
        """Return whether there is anything to wait for."""
        return self != AT_ONCE

    def open_reasons(self, now: datetime, predicted: float | None) -> list[str]:
        """Return what is not so yet; `predicted` is the downtime if the source were shut down now, in seconds."""
        reasons = []
        if self.at is not None and now < self.at:
            reasons.append(f"not before {self.at:%Y-%m-%d %H:%M:%S}")
        if self.window is not None and not self.window.holds(now.astimezone()):
            reasons.append(f"only in the window {self.window}")
        if self.hold:
            reasons.append("held until it is released")
        if self.max_downtime is not None and predicted is not None and predicted > self.max_downtime:
            reasons.append(
                f"the predicted downtime is {human_seconds(predicted)}, more than {human_seconds(self.max_downtime)}"
            )
        return reasons

    def next_change(self, now: datetime) -> float | None:
        """Return in how many seconds the clock may change the answer; None where it does not."""
        moments = []
        if self.at is not None and now < self.at:
            moments.append(self.at)
        if self.window is not None and not self.window.holds(now.astimezone()):
            local = now.astimezone()
            begin = local.replace(hour=self.window.begin.hour, minute=self.window.begin.minute, second=0, microsecond=0)
            moments.append(begin if begin > local else begin + timedelta(days=1))
        return max((moment - now).total_seconds() for moment in moments) if moments else None


AT_ONCE = When()


@dataclass(frozen=True)
class Prediction:
    """The downtime, if the source were shut down now; times in seconds, rates in bytes per second."""

    shutdown: float
    final_sync: float
    rest: float
    basis: str
    guest_writes: float
    copy_moves: float

    @property
    def total(self) -> float:
        """Return all of it."""
        return self.shutdown + self.final_sync + self.rest

    def __str__(self) -> str:
        return (
            f"{human_seconds(self.total)}: shutdown {human_seconds(self.shutdown)}, final sync "
            f"{human_seconds(self.final_sync)}, move and boot {human_seconds(self.rest)} ({self.basis})"
        )


def predict(known: Usual, last: SyncResult, since: float) -> Prediction:
    """Return the downtime after a sync that took what changed in `since` seconds.

    The final sync has to bring what the guest writes during the last one: the same overhead, and less to copy.
    """
    copying = max((disk.seconds for disk in last.disks), default=0.0)
    overhead = max(last.seconds - copying, 0.0)
    writes = last.changed / since if since > 0 and last.kind == "incremental" else 0.0
    moves = last.changed / copying if copying > 0 else 0.0
    left = writes * last.seconds / moves if moves else 0.0
    return Prediction(known.shutdown, overhead + left, known.rest, known.basis, writes, moves)


def wait(
    runtime: Runtime,
    lock: Lock,
    job: Job,
    service: Any,
    vm: VirtualMachine,
    when: When,
    now: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> Prediction | None:
    """Sync again and again until the machine may be cut over; return the last prediction.

    Raises PreconditionError where the downtime will never fit, CancelledError where it was told to stop, and
    whatever a sync reports.
    """
    if not when.waits:
        return None
    job.log(
        EventKind.CUTOVER_WAITS,
        at=when.at and str(when.at),
        window=when.window and str(when.window),
        max_downtime=when.max_downtime,
        hold=when.hold,
    )
    told = f"from elsewhere: {migratekit('failover', vm.name, '--release')} (cut over now) or --cancel"
    runtime.observer.note(f"{vm.name} is synced until it may be cut over; it keeps running. To tell it {told}")
    predictions: list[Prediction] = []
    synced, failures = time.monotonic(), 0
    while True:
        job.stop_if_cancelled()
        began = time.monotonic()
        try:
            with job.step("keep-in-step"), runtime.tracker.job("replication", owner=vm.name, parent=job) as inner:
                last = sync(runtime, lock, inner, service, find_vm(service, vm.moref))
            failures = 0
        except (OperationFailedError, UnreachableError, BusyError) as error:
            if isinstance(error, BusyError):
                # It may be the OMA, which has no room just now; or the machine itself, and then this is over.
                lock.ensure()
            failures += 1
            if failures >= FAILURES:
                raise
            runtime.observer.note(f"that sync failed ({error}); it is tried again in {human_seconds(RETRY_SECONDS)}")
            _sleep(runtime, job, RETRY_SECONDS)
            continue
        with job.step("predict-downtime") as step:
            known = usual(runtime.databases.oma, vm.name)
            predictions.append(predict(known, last, began - synced))
            synced = began
            step.log(EventKind.DOWNTIME_PREDICTED, seconds=round(predictions[-1].total, 1), basis=predictions[-1].basis)
        reasons = when.open_reasons(now(), predictions[-1].total)
        if when.max_downtime is not None and len(predictions) < 2:
            reasons.append("how much the guest writes is known after the next sync")
        runtime.observer.note(f"predicted downtime {predictions[-1]}")
        if control.released(runtime, job) or not reasons:
            return predictions[-1]
        _give_up_where_hopeless(vm, when, predictions)
        runtime.observer.note(f"not cut over yet: {'; '.join(reasons)}")
        _pause(runtime, job, when, last, now)


def _pause(runtime: Runtime, job: Job, when: When, last: SyncResult, now: Callable[[], datetime]) -> None:
    """Wait until it is time for the next sync, at once where it was told to cut over now."""
    settings = runtime.config.failover
    closed = when.open_reasons(now(), None)
    # Only the guest's writes stand in the way: the sooner the next sync, the less it finds.
    seconds = settings.sync_interval if closed else 0.0
    change = when.next_change(now())
    if change is not None:
        # One more sync ends when the time has come.
        seconds = min(seconds, max(change - 1.5 * last.seconds, 0.0) or change)
    _sleep(runtime, job, seconds)


def _sleep(runtime: Runtime, job: Job, seconds: float) -> None:
    """Sleep, but not longer than until it is told anything."""
    until = time.monotonic() + seconds
    while True:
        job.stop_if_cancelled()
        if control.released(runtime, job):
            runtime.observer.note("told to cut over now: one more sync, then the source is shut down")
            return
        if time.monotonic() >= until:
            return
        time.sleep(min(POLL_SECONDS, max(until - time.monotonic(), 0.0)))


def _give_up_where_hopeless(vm: VirtualMachine, when: When, predictions: list[Prediction]) -> None:
    """Raise PreconditionError, with the figures, where the downtime will never fit."""
    budget, last = when.max_downtime, predictions[-1]
    if budget is None or last.total <= budget:
        return
    fixed = last.shutdown + last.rest
    why = ""
    if fixed > budget:
        why = f"shutdown, move and boot alone take {human_seconds(fixed)} ({last.basis})"
    elif len(predictions) > TRIES:
        before = min(prediction.total for prediction in predictions[:-TRIES])
        if min(prediction.total for prediction in predictions[-TRIES:]) > NEARER * before:
            why = (
                f"after {len(predictions)} syncs it is {last}; the guest writes {human_rate(last.guest_writes)}, "
                f"the copy moves {human_rate(last.copy_moves)}"
            )
    if why:
        raise PreconditionError(
            f"the downtime of {vm.name} will not fit into {human_seconds(budget)}",
            why,
            "allow more with --max-downtime, quieten the guest, or give the copy more bandwidth; nothing was changed",
            code=ErrorCode.DOWNTIME_TOO_LONG,
            facts={"vm": vm.name, "budget_seconds": budget},
        )
