"""The snapshots of ours that are there: a row from before the call that makes one until it is gone. Where its job
has ended, somebody has to remove it: the machine's next sync or verification, or a cleanup."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.models.installation import PendingRemoval
from migratekit_core.joblog.search import running


@dataclass(frozen=True)
class Left:
    """A snapshot of ours whose job does not run any more."""

    vm_uuid: str
    vm_name: str
    vcenter_host: str
    snapshot_id: str
    job_id: str
    reason: str
    """Why it was not removed; "" where nobody could say."""

    def way_out(self) -> Hint:
        """Return the command that removes it."""
        return removes(self.vm_name)


def removes(vm_name: str) -> Hint:
    """Return the command that removes the snapshots that are left of a machine."""
    return hint("remove it with: ", migratekit("cleanup", vm_name))


def opened(engine: Engine, row: PendingRemoval) -> None:
    """Write down that a snapshot is there, by its id, or, before it is made, by its name: what was written of its job
    before is replaced."""

    def change(db: Session) -> None:
        earlier = (PendingRemoval.vm_uuid == row.vm_uuid, PendingRemoval.job_id == row.job_id)
        for known in db.exec(select(PendingRemoval).where(*earlier)).all():
            db.delete(known)
        db.flush()
        db.merge(row)

    write(engine, change)


def closed(engine: Engine, vm_uuid: str, snapshot_id: str | None = None) -> None:
    """Forget a snapshot that is gone; without `snapshot_id` all of the machine's."""

    def change(db: Session) -> None:
        query = select(PendingRemoval).where(PendingRemoval.vm_uuid == vm_uuid)
        if snapshot_id is not None:
            query = query.where(PendingRemoval.snapshot_id == snapshot_id)
        for row in db.exec(query).all():
            db.delete(row)

    write(engine, change)


def stays(engine: Engine, vm_uuid: str, reason: str) -> None:
    """Write down why a machine's snapshot is not removed yet."""

    def change(db: Session) -> None:
        for row in db.exec(select(PendingRemoval).where(PendingRemoval.vm_uuid == vm_uuid)).all():
            row.reason = reason

    write(engine, change)


def pending(engine: Engine, vm_uuid: str) -> str:
    """Return why the removal of a machine's snapshot is pending; "" where none is."""
    query = select(PendingRemoval.reason).where(
        PendingRemoval.vm_uuid == vm_uuid, col(PendingRemoval.reason).is_not(None)
    )
    return write(engine, lambda db: "; ".join(sorted({str(reason) for reason in db.exec(query).all()})))


def owed(engine: Engine, vm_uuid: str | None = None) -> list[Left]:
    """Return the snapshots that are left: all, or those of a machine."""

    def look(db: Session) -> list[Left]:
        query = select(PendingRemoval).order_by(col(PendingRemoval.created_at))
        if vm_uuid is not None:
            query = query.where(PendingRemoval.vm_uuid == vm_uuid)
        rows = db.exec(query).all()
        at_work = running(db, {row.job_id for row in rows})
        return [
            Left(row.vm_uuid, row.vm_name, row.vcenter_host, row.snapshot_id, row.job_id, row.reason or "")
            for row in rows
            if row.job_id not in at_work
        ]

    return write(engine, look)
