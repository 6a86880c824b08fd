"""Which volumes were MigrateKit's before there was a table of them: `db upgrade` fills it from other tables."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.sources import SourceVolume
from migratekit_core.db.models.volumes import DeviceMapping, OwnedVolume, VolumeOperation

UPGRADE = "upgrade"
MAKES = ("create", "clone")
"""Kinds of operations that make a volume."""


def fill(databases: Databases) -> int:
    """Add the volumes that replicas, attachments and finished operations tell of; return how many were added. Safe to
    repeat. The daemon touches none of them unless CloudStack has it with our tag."""
    with session(databases.oma) as db:
        replicas = db.exec(select(SourceVolume.volume_id)).all()
    return _added(databases.volumes, {str(found) for found in replicas if found})


def _added(engine: Engine, replicas: set[str]) -> int:
    with session(engine) as db:
        known = set(db.exec(select(OwnedVolume.volume_id)).all())
        missing = sorted((replicas | _told(db)) - known)
        for volume_id in missing:
            db.add(OwnedVolume(volume_id=volume_id, origin=UPGRADE))
    return len(missing)


def _told(db: Session) -> set[str]:
    made = select(col(VolumeOperation.volume_id)).where(
        col(VolumeOperation.type).in_(MAKES), VolumeOperation.status == "completed"
    )
    return {str(found) for found in (*db.exec(made.distinct()), *db.exec(select(DeviceMapping.volume_id))) if found}
