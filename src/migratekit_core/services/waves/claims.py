"""Who works on a machine: one worker at a time, told apart by the token of its claim.

A claim is one conditional update, so of many workers that want a machine one gets it. Whoever holds it gives signs of
life; without one for a while the claim is taken back (`release_stale`), the machine is where it was before, and what
the late worker then reports is refused. The clock is the database's: those of the hosts may differ.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError, to_fields
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.db.engine import db_time, write
from migratekit_core.db.models.waves import WaveAttempt, WaveMachine, WaveRow
from migratekit_core.db.wavestates import (
    BUSY,
    CANCELLED,
    CUT_OVER,
    CUTOVER,
    FAILED,
    GIVEN_BACK,
    ROLLBACK,
    RUNNING,
    STALE_SECONDS,
    TASKS,
)
from migratekit_core.services.waves import rows

DONE, LOST = "done", "lost"
"""Outcomes of an attempt, beside FAILED, CANCELLED, GIVEN_BACK and BUSY."""


class LostClaimError(BusyError):
    """The claim was taken back: another worker may have the machine now."""


@dataclass(frozen=True)
class Claim:
    """A machine that is ours, for one task."""

    machine_id: int
    """Row of wave_vms."""
    wave: str
    vm_id: str
    """instanceUuid."""
    vm_name: str
    task: str
    worker: str
    token: str
    attempt: int
    came_from: str


@dataclass(frozen=True)
class Orders:
    """What operators asked for meanwhile."""

    paused: bool
    """Begin no other machine of this wave."""
    cancel: bool
    """Stop this one (then call `cancelled`)."""


@dataclass(frozen=True)
class Released:
    """A machine that was taken back from a worker."""

    wave: str
    vm_id: str
    vm_name: str
    task: str
    worker: str
    attempts: int


def claim(engine: Engine, wave: str, vm_id: str, task: str, worker: str, *, again: int | None = None) -> Claim | None:
    """Take a machine for a task; return None where it is somebody else's, in no state for it, or not to be begun.

    `worker` names the process for people: `host:pid` or the like. `again`: also a machine that has done the task, if it
    has still had so many attempts as were seen when that was decided; so of many who want it again one does it. Not to
    be begun: the wave is paused or cancelled, the machine is to be cancelled, or the wave is unknown.
    """
    token = uuid.uuid4().hex
    states = TASKS[task].takes if again is not None else TASKS[task].first

    def change(db: Session) -> Claim | None:
        now = db_time(db)
        open_wave = select(WaveRow.id).where(WaveRow.name == wave, col(WaveRow.cancel_asked).is_(False))
        # To take back what was begun, a pause is no obstacle.
        if task != ROLLBACK:
            open_wave = open_wave.where(col(WaveRow.paused).is_(False))
        conditions = [col(WaveMachine.attempts) == again] if again is not None else []
        if task == ROLLBACK:
            # What failed before its cut-over has nothing to take back.
            over = (col(WaveMachine.state) == CUT_OVER) | col(WaveMachine.task).in_((CUTOVER, ROLLBACK))
            conditions.append(over)
        take = (
            update(WaveMachine)
            .where(col(WaveMachine.vm_id) == vm_id, col(WaveMachine.wave_id) == open_wave.scalar_subquery())
            .where(col(WaveMachine.state).in_(states), col(WaveMachine.cancel_asked).is_(False))
            .where(*conditions)
            # In this order: MariaDB computes one assignment after the other, and the later ones see the earlier.
            .ordered_values(
                (col(WaveMachine.came_from), col(WaveMachine.state)),
                (col(WaveMachine.state), RUNNING),
                (col(WaveMachine.task), task),
                (col(WaveMachine.attempts), col(WaveMachine.attempts) + 1),
                (col(WaveMachine.worker), worker),
                (col(WaveMachine.token), token),
                (col(WaveMachine.heartbeat_at), now),
                (col(WaveMachine.job_id), None),
                (col(WaveMachine.bytes_done), 0),
                (col(WaveMachine.rate), 0),
                *((col(getattr(WaveMachine, name)), None) for name in rows.ERROR),
                (col(WaveMachine.started_at), now),
                (col(WaveMachine.ended_at), None),
            )
        )
        taken = rows.met(db, take)
        row = db.exec(select(WaveMachine).where(WaveMachine.token == token)).first()
        if row is None or row.id is None:
            return None
        if taken:
            db.add(
                WaveAttempt(
                    token=token, machine_id=row.id, task=task, number=row.attempts, worker=worker, started_at=now
                )
            )
        # Else this is the second try of a commit whose answer was lost: it is ours already.
        return Claim(row.id, wave, vm_id, row.vm_name, task, worker, token, row.attempts, row.came_from)

    return write(engine, change)


def heartbeat(
    engine: Engine,
    held: Claim,
    *,
    done: int | None = None,
    total: int | None = None,
    rate: int | None = None,
    job_id: str | None = None,
) -> Orders:
    """Give a sign of life, with what is known of the progress (bytes, bytes per second); return what was asked for.

    Raises LostClaimError where the claim was taken back: stop, and report nothing.
    """
    news = {"bytes_done": done, "bytes_total": total, "rate": rate, "job_id": job_id}

    def change(db: Session) -> Orders:
        values = {key: value for key, value in news.items() if value is not None}
        if not rows.met(db, _ours(held).values(heartbeat_at=db_time(db), **values)):
            raise _lost(held)
        if job_id is not None:
            db.execute(update(WaveAttempt).where(col(WaveAttempt.token) == held.token).values(job_id=job_id))
        query = (
            select(WaveRow.paused, WaveRow.cancel_asked, WaveMachine.cancel_asked)
            .join(WaveMachine, col(WaveMachine.wave_id) == col(WaveRow.id))
            .where(WaveMachine.id == held.machine_id)
        )
        paused, all_of_it, this = db.exec(query).one()
        return Orders(paused, all_of_it or this)

    return write(engine, change)


def finish(engine: Engine, held: Claim, *, done: int | None = None, result: dict[str, Any] | None = None) -> None:
    """Note that the task is done. `result` is added to what earlier tasks left. Raises LostClaimError."""
    news: dict[str, Any] = {"rate": 0} if done is None else {"bytes_done": done, "rate": 0}
    if done:
        # What was planned, or last heard of, was a guess.
        news["bytes_total"] = done

    def more(db: Session) -> dict[str, Any]:
        if not result:
            return news
        row = db.get(WaveMachine, held.machine_id)
        return {**news, "result": {**((row.result if row else None) or {}), **result}}

    _close(engine, held, TASKS[held.task].gives, DONE, more)


def fail(engine: Engine, held: Claim, error: MigrateKitError) -> None:
    """Note that the task failed, and why. Raises LostClaimError."""
    said = _said(error)
    _close(engine, held, FAILED, FAILED, lambda _: {**said, "rate": 0}, said)


def cancelled(engine: Engine, held: Claim, error: MigrateKitError | None = None) -> None:
    """Note that the task was stopped because somebody asked for it. Raises LostClaimError."""
    said = (
        {"error_what": redact(error.what), "error_why": redact(error.why), "error_code": error.code.value}
        if error is not None
        else {}
    )
    _close(engine, held, CANCELLED, CANCELLED, lambda _: {**said, "rate": 0, "cancel_asked": False}, said)


def give_back(engine: Engine, held: Claim, error: BusyError | None = None) -> None:
    """Put the machine back to where it was, for others to take: the worker stops, say, or what it needs is in use by
    somebody else (`error`). Raises LostClaimError."""
    said = _said(error) if error is not None else {}
    outcome = GIVEN_BACK if error is None else BUSY
    _close(engine, held, held.came_from, outcome, lambda _: {**said, "rate": 0}, said)


def release_stale(engine: Engine, seconds: float = STALE_SECONDS) -> tuple[Released, ...]:
    """Take back, in all waves, the machines whose workers have given no sign of life for so many seconds."""

    def read(db: Session) -> tuple[datetime, list[WaveMachine]]:
        limit = db_time(db) - timedelta(seconds=seconds)
        query = select(WaveMachine).where(WaveMachine.state == RUNNING, col(WaveMachine.heartbeat_at) < limit)
        return limit, list(db.exec(query))

    limit, stale = write(engine, read)
    return tuple(found for row in stale if (found := write(engine, _taker(row, limit))) is not None)


def _taker(row: WaveMachine, limit: datetime) -> Callable[[Session], Released | None]:
    def change(db: Session) -> Released | None:
        # That very claim, and only if it has still given no sign: it may have ended, or woken up, meanwhile.
        take = (
            update(WaveMachine)
            .where(col(WaveMachine.id) == row.id, col(WaveMachine.token) == row.token)
            .where(col(WaveMachine.state) == RUNNING, col(WaveMachine.heartbeat_at) < limit)
        )
        now = db_time(db)
        if not rows.met(db, take.values(state=row.came_from, rate=0, ended_at=now)):
            return None
        end = update(WaveAttempt).where(col(WaveAttempt.token) == row.token)
        db.execute(end.values(outcome=LOST, ended_at=now, bytes_done=row.bytes_done))
        wave = db.get(WaveRow, row.wave_id)
        name = wave.name if wave is not None else row.wave_id
        return Released(name, row.vm_id, row.vm_name, row.task or "", row.worker or "", row.attempts)

    return change


def _said(error: MigrateKitError) -> dict[str, Any]:
    told = to_fields(error)
    return {column: told[column.removeprefix("error_")] for column in rows.ERROR}


def _close(
    engine: Engine,
    held: Claim,
    state: str,
    outcome: str,
    more: Callable[[Session], dict[str, Any]],
    said: dict[str, Any] | None = None,
) -> None:
    def change(db: Session) -> None:
        now = db_time(db)
        if not rows.met(db, _ours(held).values(state=state, heartbeat_at=now, ended_at=now, **more(db))):
            attempt = db.get(WaveAttempt, held.token)
            # The same once more: the answer to the first commit was lost.
            if attempt is not None and attempt.outcome == outcome:
                return
            raise _lost(held)
        row = db.get(WaveMachine, held.machine_id, populate_existing=True)
        end = update(WaveAttempt).where(col(WaveAttempt.token) == held.token)
        done = row.bytes_done if row is not None else 0
        db.execute(end.values(outcome=outcome, ended_at=now, bytes_done=done, **(said or {})))

    write(engine, change)


def _ours(held: Claim) -> Any:
    return update(WaveMachine).where(
        col(WaveMachine.id) == held.machine_id,
        col(WaveMachine.token) == held.token,
        col(WaveMachine.state) == RUNNING,
    )


def _lost(held: Claim) -> LostClaimError:
    return LostClaimError(
        f"{held.vm_name} is not this worker's any more",
        f"it gave no sign of life for too long, and wave {held.wave} gave the machine to another worker",
        hint("nothing; look with: ", migratekit("wave", "status", held.wave)),
        code=ErrorCode.CLAIM_LOST,
        facts={"vm": held.vm_name, "wave": held.wave},
    )
