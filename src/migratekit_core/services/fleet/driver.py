"""Drives the runs of waves: looks into the database for what there is to do, and has Dask do it where there is room.

There is one driver of a database, in the scheduler's process, or in `wave run` where there is no fleet. All that it
knows it has from the database, so a new one goes on where the last one was. What it begins is a task with a wave's name
and a machine's id; the worker claims the machine by itself. So it does no harm that a task is lost, or comes twice.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
import time
from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from distributed import Client, Future
from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.locks import Lock, vm_lock
from migratekit_core.db.models.waves import WaveMachine
from migratekit_core.db.wavestates import CUTOVER, REPLICAS, REPLICATE, ROLLBACK, RUNNING, WAITING
from migratekit_core.services.fleet import grants, leases, phases, runs, version
from migratekit_core.services.fleet import work as worker
from migratekit_core.services.fleet.phases import DONE, TASK_OF
from migratekit_core.services.fleet.runs import Run
from migratekit_core.services.fleet.waiting import Waiting
from migratekit_core.services.waves import asks, claims, look, store
from migratekit_core.services.waves.look import Snapshot
from migratekit_core.services.waves.model import Limits, Machine, Wave
from migratekit_core.services.waves.places import Need, Places, needs

RESULT_SECONDS = 20.0
"""What fetching a task's outcome may take: it is a word."""
LOOK_SECONDS = 2.0
"""How often the database is looked into; a machine that ends has the next one begun at once."""
LOOK_BIG_SECONDS = 10.0
"""The same for a wave of many machines: reading all of them takes a second or so."""
BIG = 1000
AGAIN_SECONDS = {worker.NO_PLACE: 1.0, worker.NO_CLAIM: 2.0, worker.LOST: 2.0, worker.AGAIN: 10.0}
"""When a machine is tried again, by the outcome of the last try."""
LONGEST_SECONDS = 60.0
"""At most, for one that comes back again and again: each time doubles it."""


@dataclass
class _Active:
    """A run that goes on."""

    run: Run
    wave: Wave
    machines: dict[str, Machine]
    """By instanceUuid."""
    seen: Snapshot
    looked: float
    task: str = ""
    waiting: Waiting = field(default_factory=lambda: Waiting({}))
    """Machines that may be begun."""
    later: dict[str, float] = field(default_factory=dict)
    """Machines that are to be tried again, and when."""
    needs: dict[str, dict[str, tuple[Need, ...]]] = field(default_factory=dict)
    """Of each machine, by task."""
    tries: Counter[str] = field(default_factory=Counter)
    """How often in a row machines came back with nothing done."""
    again: dict[str, int] = field(default_factory=dict)
    """Machines that do once more what they have done, and how many attempts they had when that was seen."""


@dataclass(frozen=True)
class _Task:
    wave: str
    vm: str
    task: str
    needs: tuple[Need, ...]
    again: int | None


class Driver:
    """The driver of one database. `client` is a client of Dask's scheduler."""

    def __init__(self, engine: Engine, client: Client, lease: float, note: Callable[[str], None]) -> None:
        self._engine = engine
        self._client = client
        self._lease = lease
        self._note = note
        self._me = f"{socket.gethostname()}:{os.getpid()}"
        self._active: dict[str, _Active] = {}
        self._tasks: dict[Future, _Task] = {}
        self._places = Places()
        self._ended: queue.Queue[Future] = queue.Queue()
        self._number = 0
        self._slots = 0
        self._slots_at = 0.0
        self._stale_at = 0.0
        self._settled = False
        self.alone = threading.Event()
        """Set when this driver has the database for itself."""
        self._limits: Limits | None = None
        self._names: set[str] = set()

    def drive(self, stop: threading.Event, only: str | None = None) -> None:
        """Drive all runs until `stop` is set, or with `only` that wave's until it is over.

        Raises BusyError where another driver has the database.
        """
        try:
            with vm_lock(self._engine, runs.LOCK, runs.LOCK) as lock:
                self.alone.set()
                if not self._settled:
                    grants.prepare(self._engine)
                    self._wait_for_the_last_one(stop)
                    self._settled = True
                while not stop.is_set() and self._turn(lock, only):
                    self._reap(0.2)
        except BusyError as error:
            raise BusyError(
                "the fleet has a driver already",
                error.why,
                hint("look: ", migratekit("fleet", "status"), ", ", migratekit("wave", "list")),
                code=ErrorCode.ALREADY_RUNNING,
            ) from None

    def begun(self) -> int:
        """Return how many machines are being worked on, as far as this driver knows."""
        return len(self._tasks)

    def wind_up(self, seconds: float) -> None:
        """Begin nothing more, and wait so long for what runs to end."""
        deadline = time.monotonic() + seconds
        while self._tasks and time.monotonic() < deadline:
            self._reap(0.2)

    def _wait_for_the_last_one(self, stop: threading.Event) -> None:
        """Wait until no process is left that a scheduler before this one gave places to: this one knows nothing of
        them. They end as soon as they hear nothing, and their claims run out."""
        while not stop.is_set():
            claims.release_stale(self._engine, self._lease)
            if not running(self._engine):
                return
            time.sleep(0.5)

    def _turn(self, lock: Lock, only: str | None) -> bool:
        """Look, and begin what can be; return False where there is nothing more to drive."""
        now = time.monotonic()
        if now - self._stale_at >= self._lease / 4:
            self._stale_at = now
            # A driver that lost its lock must not begin anything beside its successor.
            lock.ensure()
            for found in claims.release_stale(self._engine, self._lease):
                self._note(f"{found.vm_name}: taken back from {found.worker}, which gave no sign of life")
                if found.wave in self._active:
                    self._active[found.wave].looked = 0.0
            grants.forget(self._engine, 2 * self._lease)
        self._look(only)
        self._fill()
        return only is None or only in self._active

    def _look(self, only: str | None) -> None:
        due = [each for each in self._active.values() if self._due(each)]
        if self._active and not due and time.monotonic() - self._slots_at < LOOK_SECONDS:
            return
        self._slots_at = time.monotonic()
        self._slots = sum(self._client.nthreads().values())
        found = {run.wave: run for run in runs.open_runs(self._engine) if only in (None, run.wave)}
        for name in self._active.keys() - found.keys():
            del self._active[name]
        for name, run in found.items():
            held = self._active.get(name)
            if held is None:
                self._open(run)
            else:
                held.run = run
                if self._due(held):
                    self._look_at(held)

    def _due(self, held: _Active) -> bool:
        often = LOOK_BIG_SECONDS if len(held.wave.machines) > BIG else LOOK_SECONDS
        # Where everything is begun, the next look tells what comes after it.
        if not held.waiting and not held.later and not self._has_tasks(held):
            often = LOOK_SECONDS / 4
        return time.monotonic() - held.looked >= often

    def _open(self, run: Run) -> None:
        _, wave = store.find(self._engine, run.wave)
        others = [each for each in self._active.values() if each.wave.limits != wave.limits]
        if others or (self._tasks and self._limits != wave.limits):
            whom = f"wave {others[0].run.wave}" if others else "what ends just now"
            self._write(run, run.course.phase, f"waits for {whom}, with other limits")
            return
        self._set_limits(wave)
        held = _Active(
            run, wave, {each.uuid: each for each in wave.machines}, look.snapshot(self._engine, run.wave), 0.0
        )
        self._active[run.wave] = held
        self._look_at(held)

    def _set_limits(self, wave: Wave) -> None:
        """Have the scheduler forget the places of waves that are over, where this one has other limits."""
        if self._limits != wave.limits and not self._active and not self._tasks:
            leases.forget(sorted(self._names), self._client)
            self._limits, self._names = wave.limits, set()
        for machine in wave.machines:
            for task in TASK_OF.values():
                self._names.update(need.name for need in needs(machine, wave.limits, task))

    def _look_at(self, held: _Active) -> None:
        """Take a run's phase from what the database says, and which machines may be begun in it."""
        name, course = held.run.wave, held.run.course
        held.seen = look.snapshot(self._engine, name)
        held.looked = time.monotonic()
        for _ in phases.PHASES:
            if course.phase == CUTOVER:
                for vm, why in look.blocked(held.seen, held.wave).items():
                    if asks.skip(self._engine, name, vm, why):
                        held.seen = look.snapshot(self._engine, name)
            waiting = self._may_begin(held, course.phase)
            turn = phases.turn(course, held.seen, bool(waiting))
            if turn.phase == course.phase:
                break
            self._write(held.run, turn.phase, turn.note, turn.failed)
            held.run = runs.of(self._engine, name) or held.run
            course = held.run.course
        closed = self._closed(held, course.phase)
        if closed and self._late(held) and not held.seen.of(RUNNING) and turn.phase != DONE:
            turn = phases.Turn(DONE, f"{len(waiting)} machines were not begun: {closed}", failed=bool(waiting))
            self._write(held.run, DONE, turn.note, turn.failed)
        held.task = TASK_OF.get(turn.phase, "")
        self._queue(held, [] if closed else waiting)
        if turn.phase != DONE:
            self._write(held.run, turn.phase, closed or turn.note, turn.failed)
        if turn.phase == DONE:
            store.end(self._engine, name)
            self._active.pop(name, None)
        elif held.task and (held.seen.wave.task, held.seen.wave.status) != (held.task, RUNNING):
            self._begin(held, held.task)

    def _queue(self, held: _Active, vms: list[str]) -> None:
        """Have machines wait in the order of the wave; those that are under way, or to be tried later, do not."""
        known = held.needs.setdefault(held.task, {})
        if not known and vms:
            known |= {vm: needs(each, held.wave.limits, held.task) for vm, each in held.machines.items()}
        held.waiting = Waiting({vm: known[vm] for vm in vms})
        mine = {each.vm for each in self._tasks.values() if each.wave == held.run.wave}
        held.waiting.add(vm for vm in vms if vm not in mine and vm not in held.later)

    def _begin(self, held: _Active, task: str) -> None:
        try:
            store.begin(self._engine, held.run.wave, task)
        except MigrateKitError as error:
            if task != ROLLBACK:
                self._write(held.run, held.run.course.phase, str(error))

    def _may_begin(self, held: _Active, phase: str) -> list[str]:
        task = TASK_OF.get(phase)
        if task is None:
            return []
        again = held.run.again and task == REPLICATE
        found = look.ready(held.seen, held.wave, task, again=again)
        if again:
            # Another sync for those that have done their last one before this run was asked for.
            asked = held.run.asked_at
            old = {each.vm_id: each for each in held.seen.of(*REPLICAS) if not each.ended_at or each.ended_at <= asked}
            held.again = {vm: each.attempts for vm, each in old.items()}
            waiting = {each.vm_id for each in held.seen.of(WAITING)}
            return [vm for vm in found if vm in waiting or vm in old]
        return list(found)

    def _closed(self, held: _Active, phase: str) -> str:
        """Return why nothing may be begun now; to take back what was begun there is no window."""
        return "" if phase not in TASK_OF or phase == ROLLBACK else held.wave.window.closed(datetime.now(UTC))

    def _late(self, held: _Active) -> bool:
        end = held.wave.window.not_after
        return end is not None and datetime.now(UTC) > end

    def _write(self, run: Run, phase: str, words: str, failed: bool = False) -> None:
        if phase != run.course.phase:
            self._note(f"wave {run.wave}: {phase}" + (f" ({words})" if words else ""))
        elif words == run.note and run.driver == self._me and (run.failed or not failed):
            return
        runs.note(self._engine, run.wave, self._me, phase, words, failed)

    def _fill(self) -> None:
        """Begin what there is room for, in the order of each wave, and past those whose places are taken."""
        now = time.monotonic()
        for held in self._active.values():
            due = [vm for vm, when in held.later.items() if when <= now]
            for vm in due:
                del held.later[vm]
            held.waiting.add(vm for vm in due if held.waiting.knows(vm))
            while held.task and len(self._tasks) < self._slots:
                found = held.waiting.take(self._places)
                if found is None:
                    break
                vm, wanted = found
                self._submit(_Task(held.run.wave, vm, held.task, wanted, held.again.get(vm)))

    def _submit(self, task: _Task) -> None:
        self._places.take(task.needs)
        self._number += 1
        key = f"{task.task}-{task.vm}-{self._me}-{self._number}"
        what = (task.wave, task.vm, task.task, version(), task.again)
        future = self._client.submit(worker.work, *what, key=key, pure=False)
        self._tasks[future] = task
        future.add_done_callback(self._ended.put)

    def _reap(self, seconds: float) -> None:
        """Take the outcomes of what has ended; wait so long for the first."""
        try:
            ended = [self._ended.get(timeout=seconds)]
        except queue.Empty:
            return
        while True:
            try:
                ended.append(self._ended.get_nowait())
            except queue.Empty:
                break
        for future in ended:
            task = self._tasks.pop(future)
            self._places.give(task.needs)
            for held in self._active.values():
                held.waiting.freed(task.needs)
            self._take(task, _outcome(future))
            future.release()

    def _take(self, task: _Task, outcome: Any) -> None:
        held = self._active.get(task.wave)
        if isinstance(outcome, BaseException):
            self._note(f"{task.task} {task.vm}: {type(outcome).__name__}: {outcome}")
            outcome = worker.AGAIN
        if held is not None and outcome in AGAIN_SECONDS:
            pause = AGAIN_SECONDS[outcome]
            if outcome == worker.AGAIN:
                pause = min(pause * 2 ** min(held.tries[task.vm], 8), LONGEST_SECONDS)
                held.tries[task.vm] += 1
            held.later[task.vm] = time.monotonic() + pause
        elif held is not None:
            held.tries.pop(task.vm, None)
        if held is not None and not held.waiting and not self._has_tasks(held):
            held.looked = 0.0

    def _has_tasks(self, held: _Active) -> bool:
        return any(each.wave == held.run.wave for each in self._tasks.values())


def running(engine: Engine) -> Sequence[str]:
    """Return the machines, of all waves, that a worker has."""
    query = select(WaveMachine.vm_name).where(WaveMachine.state == RUNNING)
    return write(engine, lambda db: list(db.exec(query)))


def _outcome(future: Future) -> Any:
    """Return what a task returned or raised. Where Dask does not know it any more, the database does."""
    try:
        return future.result(timeout=RESULT_SECONDS)
    except Exception as error:
        lost = future.status in ("cancelled", "lost", "pending")
        return worker.AGAIN if lost or isinstance(error, CancelledError | TimeoutError | OSError) else error
