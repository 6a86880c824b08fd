"""What operators ask of a wave: to pause, to go on, to stop, to try again. Workers find it out by themselves."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, update
from sqlmodel import Session, col, select

from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.models.waves import WaveMachine, WaveRow
from migratekit_core.db.wavestates import (
    CANCELLED,
    FAILED,
    PLANNED,
    REPLICAS,
    RETRIED,
    ROLLBACK,
    ROLLED_BACK,
    RUNNING,
    SKIPPED,
    WAITING,
    outcome,
)
from migratekit_core.services.waves import rows
from migratekit_core.services.waves.model import options_of


@dataclass(frozen=True)
class Asked:
    """What a request met."""

    wave: str
    changed: bool
    """False: it was so already."""
    machines: tuple[str, ...] = ()
    """Names of the machines whose state it changed."""
    running: tuple[str, ...] = ()
    """Names of those that a worker has: after a pause they go on to their end, after a cancel they are stopped."""
    left: tuple[str, ...] = ()
    """Machines that it does not concern, each with the reason."""


def pause(engine: Engine, name: str, *, dry_run: bool = False) -> Asked:
    """Have no further machine begun. Raises PreconditionError for an unknown or cancelled wave."""
    return _set_paused(engine, name, True, dry_run)


def resume(engine: Engine, name: str, *, dry_run: bool = False) -> Asked:
    """Have machines begun again. Raises PreconditionError for an unknown or cancelled wave."""
    return _set_paused(engine, name, False, dry_run)


def cancel(engine: Engine, name: str, vms: Sequence[str] = (), *, dry_run: bool = False) -> Asked:
    """Stop a wave, or only some machines of it: what waits is cancelled, what runs is stopped by its worker.

    Replicas stay, and what was cut over stays so. `vms` are names or instanceUuids. Raises PreconditionError for a wave
    or machine that is unknown.
    """

    def change(db: Session) -> Asked:
        row, machines = _locked(db, name, vms)
        running = [each for each in machines if each.state == RUNNING]
        # A whole wave's replicas stay what they are; a machine that is named is to be left alone from now on.
        stoppable = (WAITING, FAILED, SKIPPED, *REPLICAS) if vms else (WAITING,)
        ends = [each for each in machines if each.state in stoppable]
        left = [f"{each.vm_name} is {each.state}" for each in machines if vms and each not in (*ends, *running)]
        first = bool(ends) or any(not each.cancel_asked for each in running) if vms else not row.cancel_asked
        if dry_run:
            return Asked(name, first, _names(ends), _names(running), tuple(left))
        if not vms:
            row.cancel_asked, row.paused, row.asked_by = True, False, who()
        for each in ends:
            each.came_from = each.state if each.state in (WAITING, *REPLICAS) else each.came_from
            each.state = CANCELLED
        for each in running if vms else ():
            each.cancel_asked = True
        _settle(db, row)
        return Asked(name, first, _names(ends), _names(running), tuple(left))

    return write(engine, change)


def retry(engine: Engine, name: str, vms: Sequence[str] = (), *, dry_run: bool = False) -> Asked:
    """Put machines that failed, were skipped, cancelled or rolled back to where they were before, for the next run.

    Of a whole wave it also takes back that it was cancelled. Raises PreconditionError for a wave or machine that is
    unknown.
    """

    def change(db: Session) -> Asked:
        row, machines = _locked(db, name, vms)
        stuck = [each for each in machines if each.state == FAILED and each.task == ROLLBACK]
        again = [each for each in machines if each.state in RETRIED and each not in stuck]
        left = [f"{each.vm_name}: its rollback failed; run: {_rollback(each)}" for each in stuck]
        left += [f"{each.vm_name} is {each.state}" for each in machines if vms and each not in (*again, *stuck)]
        first = bool(again) or (row.cancel_asked and not vms)
        if dry_run:
            return Asked(name, first, _names(again), (), tuple(left))
        if not vms:
            row.cancel_asked, row.asked_by = False, None
        for each in again:
            # What came back from a cut-over may have lost its change ids: it begins with a sync.
            each.state = each.came_from if each.state != ROLLED_BACK and each.came_from in REPLICAS else WAITING
            each.came_from, each.cancel_asked = each.state, False
            for column in rows.ERROR:
                setattr(each, column, None)
        _settle(db, row)
        return Asked(name, first, _names(again), (), tuple(left))

    return write(engine, change)


def _rollback(machine: WaveMachine) -> str:
    options = options_of(machine.vcenter, machine.oma)
    return str(Hint(migratekit("rollback", machine.vm_name)).bound(options))


def skip(engine: Engine, name: str, vm_id: str, why: str) -> bool:
    """Note that a machine is not begun, for something that it depends on failed; return whether it was not yet so."""

    todo = hint("mend that, then: ", migratekit("wave", "retry", name))

    def change(db: Session) -> bool:
        row = rows.row_of(db, name)
        take = (
            update(WaveMachine)
            .where(col(WaveMachine.wave_id) == row.id, col(WaveMachine.vm_id) == vm_id)
            .where(col(WaveMachine.state).in_((WAITING, *REPLICAS)))
            .ordered_values(
                (col(WaveMachine.came_from), col(WaveMachine.state)),
                (col(WaveMachine.state), SKIPPED),
                (col(WaveMachine.error_what), "not begun"),
                (col(WaveMachine.error_why), why),
                (col(WaveMachine.error_todo), str(todo)),
                (col(WaveMachine.error_hint), todo.fields()),
            )
        )
        return bool(rows.met(db, take))

    return write(engine, change)


def who() -> str:
    """Return user and host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"uid {os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def _set_paused(engine: Engine, name: str, paused: bool, dry_run: bool) -> Asked:
    def change(db: Session) -> Asked:
        rows.hold(db)
        row = rows.row_of(db, name, lock=True)
        rows.refuse_cancelled(row)
        first = row.paused != paused
        query = select(WaveMachine).where(WaveMachine.wave_id == row.id, WaveMachine.state == RUNNING)
        running = _names(db.exec(query.order_by(col(WaveMachine.position))))
        if not dry_run and first:
            row.paused, row.asked_by = paused, who() if paused else None
        return Asked(name, first, (), running)

    return write(engine, change)


def _locked(db: Session, name: str, vms: Sequence[str]) -> tuple[WaveRow, list[WaveMachine]]:
    """Return a wave and machines of it, which nobody claims or closes until this transaction ends."""
    rows.hold(db)
    row = rows.row_of(db, name, lock=True)
    return row, rows.machines_of(db, row, vms, lock=True)


def _settle(db: Session, row: WaveRow) -> None:
    """Set the status of a wave that nobody runs: what was asked may have changed it."""
    db.flush()
    if row.status == PLANNED and not row.cancel_asked:
        return
    states = rows.states_of(db, row)
    if RUNNING not in states and (row.status != RUNNING or row.cancel_asked):
        row.status = outcome(states, cancelled=row.cancel_asked)


def _names(machines: Iterable[WaveMachine]) -> tuple[str, ...]:
    return tuple(each.vm_name for each in machines)
