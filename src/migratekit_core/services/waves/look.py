"""What the database says of a wave: who may be begun next, and the whole picture for views, reports and metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.hints import Hint, from_fields
from migratekit_core.db.engine import db_time, write
from migratekit_core.db.models.waves import WaveAttempt, WaveMachine
from migratekit_core.db.wavestates import (
    CANCELLED,
    CUT_OVER,
    CUTOVER,
    FAILED,
    ROLLBACK,
    ROLLED_BACK,
    RUNNING,
    SKIPPED,
    TASKS,
    WAITING,
)
from migratekit_core.services.waves import rows
from migratekit_core.services.waves.model import Wave
from migratekit_core.services.waves.store import Stored, stored

NEVER = frozenset({FAILED, SKIPPED, CANCELLED, ROLLED_BACK})
"""States of a machine that nothing comes after without an operator."""


@dataclass(frozen=True)
class Said:
    """What an operator has to hear of a failure."""

    what: str
    why: str
    todo: Hint
    code: str
    """Of ErrorCode; "" where a former version wrote the row."""
    exit_code: int | None

    @property
    def fields(self) -> dict[str, Any]:
        """Return it for JSON."""
        told = {"todo": str(self.todo), "code": self.code or None, "hint": self.todo.fields()}
        return {"what": self.what, "why": self.why, **told, "exit_code": self.exit_code}


@dataclass(frozen=True)
class MachineState:
    """A machine of a wave, as it stands. Sizes are bytes, rates bytes per second, times UTC without a zone."""

    vm_id: str
    name: str
    position: int
    stage: int
    group: str
    vcenter: str
    oma: str
    host: str
    state: str
    came_from: str
    task: str | None
    attempts: int
    worker: str | None
    heartbeat_at: datetime | None
    cancel_asked: bool
    job_id: str | None
    bytes_done: int
    bytes_total: int
    rate: int
    error: Said | None
    result: dict[str, Any]
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Snapshot:
    """A whole wave at one moment."""

    wave: Stored
    now: datetime
    """The database's time."""
    machines: tuple[MachineState, ...]

    @property
    def counts(self) -> Counter[str]:
        """Return how many machines are in which state."""
        return Counter(each.state for each in self.machines)

    def of(self, *states: str) -> tuple[MachineState, ...]:
        """Return the machines in these states."""
        return tuple(each for each in self.machines if each.state in states)


@dataclass(frozen=True)
class Attempt:
    """One attempt at one task with one machine."""

    vm_id: str
    name: str
    task: str
    number: int
    worker: str
    outcome: str | None
    """done, failed, cancelled, given-back, lost; None while it runs."""
    job_id: str | None
    bytes_done: int
    error: Said | None
    started_at: datetime
    ended_at: datetime | None


def snapshot(engine: Engine, name: str) -> Snapshot:
    """Return how a wave stands. Raises PreconditionError where there is none of this name."""

    def read(db: Session) -> Snapshot:
        row = rows.row_of(db, name)
        return Snapshot(stored(row), db_time(db), tuple(map(_state, rows.machines_of(db, row))))

    return write(engine, read)


def attempts(engine: Engine, name: str) -> tuple[Attempt, ...]:
    """Return all attempts at a wave's machines, in the order of their begin. Raises as `snapshot`."""

    def read(db: Session) -> tuple[Attempt, ...]:
        row = rows.row_of(db, name)
        query = (
            select(WaveAttempt, WaveMachine)
            .join(WaveMachine, col(WaveMachine.id) == col(WaveAttempt.machine_id))
            .where(WaveMachine.wave_id == row.id)
            .order_by(col(WaveAttempt.started_at), col(WaveAttempt.machine_id))
        )
        return tuple(
            rows.copied(
                Attempt,
                each,
                vm_id=machine.vm_id,
                name=machine.vm_name,
                # While it runs, its bytes are the machine's.
                bytes_done=(machine if each.outcome is None and each.token == machine.token else each).bytes_done,
                error=_said(each),
            )
            for each, machine in db.exec(query)
        )

    return write(engine, read)


def ready(now: Snapshot, wave: Wave, task: str, *, again: bool = False) -> tuple[str, ...]:
    """Return the instanceUuids of machines that may be claimed for a task now, in the order to begin them.

    A cut-over goes by stages, and a rollback against them. `again`: also those that have done it (another sync).
    """
    if now.wave.cancel_asked or (now.wave.paused and task != ROLLBACK):
        return ()
    takes = TASKS[task].takes if again else TASKS[task].first
    chosen = [each for each in now.machines if each.state in takes and not each.cancel_asked]
    if task == ROLLBACK:
        # What failed before its cut-over has nothing to take back.
        chosen = [each for each in chosen if each.state == CUT_OVER or each.task in (CUTOVER, ROLLBACK)]
        return _of_stage(chosen, {each.stage for each in now.of(RUNNING)}, latest=True)
    if task != CUTOVER:
        return tuple(each.vm_id for each in chosen)
    held = blocked(now, wave)
    done = {each.name for each in now.of(CUT_OVER)}
    able = [each for each in chosen if each.vm_id not in held and set(wave.machine(each.vm_id).depends_on) <= done]
    yet = {each.stage for each in now.of(WAITING, RUNNING, *takes) if each.vm_id not in held}
    return _of_stage(able, yet, latest=False)


def blocked(now: Snapshot, wave: Wave) -> dict[str, str]:
    """Return the machines that cannot be cut over, by instanceUuid, each with the reason: what they depend on is not.

    The runner has them skipped (asks.skip).
    """
    state = {each.name: each for each in now.machines}
    found: dict[str, str] = {}
    for machine in sorted(wave.machines, key=lambda each: each.stage):
        mine = state[machine.name]
        if mine.state in NEVER or mine.state == CUT_OVER:
            continue
        for name in machine.depends_on:
            other = state[name]
            if other.state in NEVER or other.vm_id in found:
                how = other.state if other.state in NEVER else "not begun"
                found[machine.uuid] = f"it depends on {name}, which is {how}"
                break
    return found


def _of_stage(chosen: list[MachineState], busy: set[int], *, latest: bool) -> tuple[str, ...]:
    """Return those of the first stage (the last, with `latest`) in which something is to be done, or under way."""
    stages = busy | {each.stage for each in chosen}
    if not stages:
        return ()
    stage = max(stages) if latest else min(stages)
    return tuple(each.vm_id for each in chosen if each.stage == stage)


def _said(row: WaveMachine | WaveAttempt) -> Said | None:
    if row.error_what is None:
        return None
    todo = from_fields({"hint": row.error_hint, "todo": row.error_todo or ""})
    return Said(row.error_what, row.error_why or "", todo, row.error_code or "", row.exit_code)


def _state(row: WaveMachine) -> MachineState:
    return rows.copied(
        MachineState, row, name=row.vm_name, group=row.group_name, error=_said(row), result=row.result or {}
    )
