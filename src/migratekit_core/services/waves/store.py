"""Keeps waves in the database: makes, finds and lists them; says when a run of one begins and ends."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, delete, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.waves import WaveMachine, WaveRow
from migratekit_core.db.wavestates import CANCELLED, CUT_OVER, PLANNED, ROLLED_BACK, RUNNING, WAITING, outcome
from migratekit_core.services.waves import files, rows
from migratekit_core.services.waves.model import Wave


@dataclass(frozen=True)
class Stored:
    """A wave of the database, without its machines. Times are UTC without a zone."""

    id: str
    name: str
    digest: str
    status: str
    task: str | None
    """replicate, rehearse, cutover or rollback: what its last run does."""
    paused: bool
    cancel_asked: bool
    asked_by: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class Listed:
    """A wave, and how many of its machines are in which state."""

    stored: Stored
    counts: dict[str, int]


def create(engine: Engine, wave: Wave, *, replace: bool = False) -> Stored:
    """Store a wave; one that is stored already, with the same content, is returned as it is.

    `replace`: a stored one of this name whose machines were never begun makes room. Raises PreconditionError where
    there is one with other content, and where a machine is in another wave that is not done with it.
    """
    digest = files.digest(wave)

    def change(db: Session) -> Stored:
        rows.hold(db)
        # The row is locked, so that two who create the same wave come one after the other.
        found = db.exec(select(WaveRow).where(WaveRow.name == wave.name).with_for_update()).first()
        if found is not None and found.digest == digest:
            return stored(found)
        if found is not None:
            _refuse_begun(db, found, replace)
            db.exec(delete(WaveMachine).where(col(WaveMachine.wave_id) == found.id))
            db.delete(found)
            db.flush()
        _refuse_shared(db, wave)
        row = WaveRow(id=str(uuid.uuid4()), name=wave.name, content=files.dumps(wave), digest=digest, status=PLANNED)
        db.add(row)
        db.flush()
        db.add_all(_machines(row.id, wave))
        return stored(row)

    try:
        return write(engine, change)
    except OperationFailedError as error:
        # Two at the same moment, when there was no row yet to wait for: now there is.
        if isinstance(error.__cause__, IntegrityError):
            return write(engine, change)
        raise


def find(engine: Engine, name: str) -> tuple[Stored, Wave]:
    """Return a stored wave, and what its file says. Raises PreconditionError where there is none of this name."""
    row = write(engine, lambda db: rows.row_of(db, name))
    return stored(row), files.loads(row.content, f"wave {name}")


def listing(engine: Engine) -> tuple[Listed, ...]:
    """Return all waves, the newest first."""

    def read(db: Session) -> tuple[Listed, ...]:
        query = select(WaveMachine.wave_id, WaveMachine.state, func.count()).group_by(
            col(WaveMachine.wave_id), col(WaveMachine.state)
        )
        counts: dict[str, dict[str, int]] = {}
        for wave_id, state, number in db.exec(query):
            counts.setdefault(wave_id, {})[state] = number
        waves = db.exec(select(WaveRow).order_by(col(WaveRow.created_at).desc(), col(WaveRow.name)))
        return tuple(Listed(stored(row), counts.get(row.id, {})) for row in waves)

    return write(engine, read)


def begin(engine: Engine, name: str, task: str) -> Stored:
    """Note that a run of a wave begins, which does `task` with its machines; one that runs already goes on.

    Raises PreconditionError where the wave was cancelled.
    """

    def change(db: Session) -> Stored:
        rows.hold(db)
        row = rows.row_of(db, name, lock=True)
        rows.refuse_cancelled(row)
        row.status, row.task, row.ended_at = RUNNING, task, None
        row.started_at = row.started_at or utcnow()
        return stored(row)

    return write(engine, change)


def end(engine: Engine, name: str) -> Stored:
    """Note that a run of a wave has ended, and what came of it by the states of its machines.

    While a worker still has one of them, the wave goes on running.
    """

    def change(db: Session) -> Stored:
        rows.hold(db)
        row = rows.row_of(db, name, lock=True)
        states = rows.states_of(db, row)
        if RUNNING in states:
            return stored(row)
        row.status = outcome(states, cancelled=row.cancel_asked)
        row.ended_at = utcnow()
        return stored(row)

    return write(engine, change)


def unmet(engine: Engine, wave: Wave) -> list[str]:
    """Return why the machines of a wave may not be cut over yet: waves that come before it and are not; [] if none."""

    def read(db: Session) -> list[str]:
        found = []
        for name in wave.after:
            row = db.exec(select(WaveRow).where(WaveRow.name == name)).first()
            if row is None:
                found.append(f"wave {name} was not begun")
                continue
            query = select(func.count()).where(WaveMachine.wave_id == row.id, WaveMachine.state != CUT_OVER)
            left = db.exec(query).one()
            if left:
                found.append(f"{left} of the machines of wave {name} are not cut over")
        return found

    return write(engine, read)


def stored(row: WaveRow) -> Stored:
    """Return what a row says."""
    return rows.copied(Stored, row)


def _machines(wave_id: str, wave: Wave) -> list[WaveMachine]:
    return [
        WaveMachine(
            wave_id=wave_id,
            vm_id=machine.uuid,
            vm_name=machine.name,
            position=number,
            stage=machine.stage,
            group_name=machine.group,
            vcenter=machine.vcenter,
            oma=machine.oma,
            host=machine.host,
            state=WAITING,
            came_from=WAITING,
            bytes_total=machine.data_bytes,
        )
        for number, machine in enumerate(wave.machines, 1)
    ]


def _refuse_begun(db: Session, row: WaveRow, replace: bool) -> None:
    begun = db.exec(select(func.count()).where(WaveMachine.wave_id == row.id, WaveMachine.attempts > 0)).one()
    if begun:
        raise PreconditionError(
            f"wave {row.name} is stored with other content",
            f"{begun} of its machines were begun already",
            "give the changed wave another name, without the machines that are done",
            code=ErrorCode.WAVE_CHANGED,
            facts={"wave": row.name},
        )
    if not replace:
        raise PreconditionError(
            f"wave {row.name} is stored with other content",
            f"the file was changed after {row.created_at:%Y-%m-%d %H:%M} UTC; none of its machines was begun",
            "add --replace, or give the wave another name",
            code=ErrorCode.WAVE_CHANGED,
            facts={"wave": row.name},
        )


def _refuse_shared(db: Session, wave: Wave) -> None:
    names = {machine.uuid: machine.name for machine in wave.machines}
    for part in _parts(list(names)):
        query = (
            select(WaveMachine.vm_id, WaveRow.name, WaveMachine.state)
            .join(WaveRow, col(WaveRow.id) == col(WaveMachine.wave_id))
            .where(
                col(WaveMachine.vm_id).in_(part),
                col(WaveMachine.state).not_in((CUT_OVER, CANCELLED, ROLLED_BACK)),
                col(WaveRow.cancel_asked).is_(False),
            )
        )
        found = db.exec(query).first()
        if found is not None:
            vm_id, other, state = found
            raise PreconditionError(
                f"{names[vm_id]} cannot be in wave {wave.name}",
                f"it is in wave {other} already ({state})",
                hint("leave it out, or: ", migratekit("wave", "cancel", other, "--vm", names[vm_id])),
                code=ErrorCode.WAVE_SHARED,
                facts={"wave": wave.name, "vm": names[vm_id], "other": other},
            )


def _parts(values: Sequence[str], size: int = 500) -> list[Sequence[str]]:
    # Databases limit how long a list within a statement may be.
    return [values[start : start + size] for start in range(0, len(values), size)]
