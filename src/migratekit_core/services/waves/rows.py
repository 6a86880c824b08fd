"""Rows of the wave tables, as the modules of this package read and change them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.engine import CursorResult
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.models.waves import WaveAttempt, WaveMachine, WaveRow

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
ERROR = ("error_what", "error_why", "error_todo", "error_code", "error_hint", "exit_code")
"""Columns of what a machine, or an attempt, failed with."""


def copied(kind: type[T], row: WaveRow | WaveMachine | WaveAttempt, **other: Any) -> T:
    """Return a dataclass with what a row has in columns of its fields' names; `other` are the fields that differ."""
    return kind(**{each.name: getattr(row, each.name) for each in fields(kind) if each.name not in other} | other)


def hold(db: Session) -> None:
    """Begin a transaction that reads and then writes: SQLite has its one writer wait here, MariaDB at `lock=True`."""
    if db.get_bind().dialect.name == "sqlite":
        db.connection().exec_driver_sql("BEGIN IMMEDIATE")


def row_of(db: Session, name: str, *, lock: bool = False) -> WaveRow:
    """Return the row of a wave. Raises PreconditionError where there is none of this name."""
    query = select(WaveRow).where(WaveRow.name == name)
    row = db.exec(query.with_for_update() if lock else query).first()
    if row is None:
        known = ", ".join(db.exec(select(WaveRow.name).order_by(col(WaveRow.created_at).desc()).limit(5))) or "none"
        raise PreconditionError(
            f"no wave {name!r}",
            f"the newest stored are: {known}",
            hint("look: ", migratekit("wave", "list")),
            code=ErrorCode.WAVE_NOT_FOUND,
            facts={"wave": name},
        )
    return row


def refuse_cancelled(row: WaveRow) -> None:
    """Raise PreconditionError where a wave was cancelled."""
    if row.cancel_asked:
        raise PreconditionError(
            f"wave {row.name} was cancelled",
            f"by {row.asked_by or 'somebody'}",
            hint("to go on with it: ", migratekit("wave", "retry", row.name)),
            code=ErrorCode.WAVE_NOT_READY,
            facts={"wave": row.name},
        )


def machines_of(db: Session, row: WaveRow, vms: Sequence[str] = (), *, lock: bool = False) -> list[WaveMachine]:
    """Return a wave's machines in order, or those of these names or instanceUuids.

    Raises PreconditionError for one that the wave has not.
    """
    query = select(WaveMachine).where(WaveMachine.wave_id == row.id).order_by(col(WaveMachine.position))
    rows = list(db.exec(query.with_for_update() if lock else query))
    known = {each.vm_name for each in rows} | {each.vm_id for each in rows}
    missing = [vm for vm in vms if vm not in known]
    if missing:
        raise PreconditionError(
            f"no machine {missing[0]!r} in wave {row.name}",
            f"it has {len(rows)}",
            hint("look: ", migratekit("wave", "show", row.name)),
            code=ErrorCode.WAVE_VM_NOT_FOUND,
            facts={"wave": row.name, "vm": missing[0]},
        )
    return [each for each in rows if not vms or each.vm_name in vms or each.vm_id in vms]


def states_of(db: Session, row: WaveRow) -> set[str]:
    """Return the states that a wave's machines are in."""
    return set(db.exec(select(WaveMachine.state).where(WaveMachine.wave_id == row.id).distinct()))


def met(db: Session, statement: Any) -> int:
    """Run an update; return how many rows it met (those that it left as they were count, too)."""
    result = db.execute(statement, execution_options={"synchronize_session": False})
    assert isinstance(result, CursorResult), "an update has no rows to give"
    return result.rowcount
