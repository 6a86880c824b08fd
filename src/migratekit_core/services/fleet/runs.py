"""The runs of waves that were asked for, in the database: `wave run` and `wave cutover` ask, the driver does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import db_time, write
from migratekit_core.db.locks import is_held
from migratekit_core.db.models.fleet import FleetRun
from migratekit_core.db.models.waves import WaveRow
from migratekit_core.services.fleet import phases
from migratekit_core.services.fleet.phases import DONE, GATE, Course
from migratekit_core.services.waves import rows
from migratekit_core.services.waves.asks import who

LOCK = "fleet"
"""Held by the one driver of a database."""


@dataclass(frozen=True)
class Run:
    """A run of a wave."""

    wave: str
    course: Course
    again: bool
    note: str
    failed: bool
    asked_by: str
    asked_at: datetime
    """UTC, by the database's clock."""
    driver: str

    @property
    def over(self) -> bool:
        """Return whether it has ended."""
        return self.course.phase == DONE


@dataclass(frozen=True)
class Asked:
    """What somebody asks for."""

    kind: str
    again: bool = False
    """Also machines that have done it before."""
    rehearse: bool = True
    gate_open: bool = False
    """Cut over after the rehearsals without anybody being asked."""
    abort_below: float = 100.0
    """Per cent of the machines."""


def ask(engine: Engine, wave: str, wanted: Asked) -> Run:
    """Ask for a run; one of the same kind that goes on is joined, and its gate opened where that is asked for.

    Raises BusyError where a run of another kind goes on.
    """

    def change(db: Session) -> Run:
        rows.hold(db)
        row = rows.row_of(db, wave, lock=True)
        found = db.get(FleetRun, row.id)
        if found is not None and found.phase != DONE:
            if found.kind != wanted.kind:
                raise BusyError(
                    f"wave {wave} is busy",
                    f"its {found.kind} goes on ({found.phase}), asked for by {found.asked_by}",
                    hint("wait for it, or: ", migratekit("wave", "cancel", wave)),
                    code=ErrorCode.WAVE_BUSY,
                    facts={"wave": wave},
                )
            found.gate_open = found.gate_open or wanted.gate_open
            return _run(wave, found)
        made = found or FleetRun(wave_id=row.id, kind=wanted.kind, phase=DONE, asked_by="")
        made.kind, made.phase = wanted.kind, phases.first(wanted.kind, wanted.rehearse)
        made.again, made.rehearse = wanted.again, wanted.rehearse
        made.gate_open, made.abort_below = wanted.gate_open, wanted.abort_below
        made.note, made.failed, made.asked_by, made.driver = None, False, who(), None
        made.created_at = db_time(db)
        db.add(made)
        return _run(wave, made)

    return write(engine, change)


def open_gate(engine: Engine, wave: str) -> None:
    """Have the cut-over follow the rehearsals. Raises PreconditionError where none waits for it."""

    def change(db: Session) -> None:
        found = db.get(FleetRun, rows.row_of(db, wave, lock=True).id)
        if found is None or found.phase != GATE:
            raise PreconditionError(
                f"no cut-over of wave {wave} waits",
                f"its run is {found.phase if found else 'not begun'}",
                hint("look: ", migratekit("wave", "status", wave)),
                code=ErrorCode.WAVE_NOT_READY,
                facts={"wave": wave},
            )
        found.gate_open = True

    write(engine, change)


def of(engine: Engine, wave: str) -> Run | None:
    """Return the last run of a wave; None where there was none."""

    def read(db: Session) -> Run | None:
        found = db.get(FleetRun, rows.row_of(db, wave).id)
        return _run(wave, found) if found is not None else None

    return write(engine, read)


def open_runs(engine: Engine) -> tuple[Run, ...]:
    """Return the runs that are not over, the oldest first."""

    def read(db: Session) -> tuple[Run, ...]:
        query = select(FleetRun, WaveRow.name).join(WaveRow, col(WaveRow.id) == col(FleetRun.wave_id))
        found = db.exec(query.where(FleetRun.phase != DONE).order_by(col(FleetRun.created_at)))
        return tuple(_run(name, row) for row, name in found)

    return write(engine, read)


def driven(engine: Engine) -> bool | None:
    """Return whether a process drives the runs now; None with SQLite, which does not tell."""
    if engine.dialect.name == "sqlite":
        return None
    return write(engine, lambda db: is_held(db, LOCK))


def note(engine: Engine, wave: str, driver: str, phase: str, words: str, failed: bool = False) -> None:
    """Write down how far a run is."""

    def change(db: Session) -> None:
        found = db.get(FleetRun, rows.row_of(db, wave).id)
        assert found is not None, "the driver has it from here"
        found.phase, found.note, found.driver = phase, words or None, driver
        found.failed = found.failed or failed

    write(engine, change)


def _run(wave: str, row: FleetRun) -> Run:
    course = Course(row.kind, row.phase, row.rehearse, row.gate_open, row.abort_below)
    return Run(wave, course, row.again, row.note or "", row.failed, row.asked_by, row.created_at, row.driver or "")
