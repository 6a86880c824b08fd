"""The daemon's rows about volumes: where each is attached, and how it is exported. A database that is away for a moment
is waited for: the work that a row tells of has been done by then."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.volumes import DeviceMapping, NbdExport, VolumeOperation

ATTACHING, ATTACHED, DETACHED, DELETED = "attaching", "attached", "detached", "deleted"
ABSENT, ELSEWHERE = "absent", "elsewhere"
"""linux_state of a volume that Linux has no device of, and of one that is attached to another machine than this."""


def mapping(engine: Engine, volume_id: str) -> DeviceMapping | None:
    """Return where a volume is attached."""
    return write(engine, lambda db: _mapping(db, volume_id))


def mappings(engine: Engine) -> list[DeviceMapping]:
    """Return where all volumes are attached."""
    return write(engine, lambda db: list(db.exec(select(DeviceMapping)).all()))


def record_mapping(
    engine: Engine, volume_id: str, vm_id: str, size: int, *, cloudstack: str, linux: str, path: str | None
) -> None:
    """Write down where a volume is attached; `path` is its device on this machine."""

    def change(db: Session) -> None:
        if path is not None:
            # Linux gives a path anew when its device is gone: a row that still has it is out of date.
            held = col(DeviceMapping.device_path) == path
            for other in db.exec(select(DeviceMapping).where(held, DeviceMapping.volume_id != volume_id)).all():
                other.device_path, other.linux_state = None, ABSENT
            db.flush()
        row = _mapping(db, volume_id)
        if row is None:
            row = DeviceMapping(
                volume_id=volume_id, vm_id=vm_id, cloudstack_state=cloudstack, linux_state=linux, size=size
            )
            db.add(row)
        row.vm_id, row.size, row.device_path = vm_id, size, path
        row.cloudstack_state, row.linux_state, row.last_sync = cloudstack, linux, utcnow()

    write(engine, change)


def forget_mapping(engine: Engine, volume_id: str) -> None:
    """Delete the row of a volume that is attached nowhere."""

    def change(db: Session) -> None:
        row = _mapping(db, volume_id)
        if row is not None:
            db.delete(row)

    write(engine, change)


def detached_lately(engine: Engine, volume_id: str, seconds: float) -> bool:
    """Return whether the last thing done about where a volume is was to detach it, within the last `seconds`."""

    def newest(db: Session) -> VolumeOperation | None:
        moved = col(VolumeOperation.type).in_(("attach", "detach"))
        query = select(VolumeOperation).where(VolumeOperation.volume_id == volume_id, moved)
        query = query.where(VolumeOperation.status == "completed")
        return db.exec(query.order_by(col(VolumeOperation.completed_at).desc())).first()

    last = write(engine, newest)
    if last is None or last.type != "detach" or last.completed_at is None:
        return False
    return (utcnow() - last.completed_at).total_seconds() < seconds


def export(engine: Engine, volume_id: str) -> NbdExport | None:
    """Return how a volume is exported."""
    return write(engine, lambda db: _export(db, volume_id))


def exports(engine: Engine) -> list[NbdExport]:
    """Return all exports."""
    return write(engine, lambda db: list(db.exec(select(NbdExport)).all()))


def record_export(engine: Engine, volume_id: str, name: str, device_path: str, port: int, status: str) -> None:
    """Write an export down."""

    def change(db: Session) -> None:
        row = _export(db, volume_id)
        if row is None:
            row = NbdExport(volume_id=volume_id, export_name=name, device_path=device_path, port=port, status=status)
            db.add(row)
        row.export_name, row.device_path, row.port, row.status = name, device_path, port, status

    write(engine, change)


def forget_export(engine: Engine, volume_id: str) -> None:
    """Delete the row of an export that was taken back."""

    def change(db: Session) -> None:
        row = _export(db, volume_id)
        if row is not None:
            db.delete(row)

    write(engine, change)


def _mapping(db: Session, volume_id: str) -> DeviceMapping | None:
    return db.exec(select(DeviceMapping).where(DeviceMapping.volume_id == volume_id)).one_or_none()


def _export(db: Session, volume_id: str) -> NbdExport | None:
    return db.exec(select(NbdExport).where(NbdExport.volume_id == volume_id)).one_or_none()
