"""Which volumes are MigrateKit's by the daemon's own record. A volume has to carry our tag in CloudStack, too."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlmodel import Session

from migratekit_core.db.engine import write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.volumes import OwnedVolume
from migratekit_core.volumed.daemon.unwritten import told

CREATED, TEMPLATE_ROOT = "created", "template-root"


def owned(engine: Engine, volume_id: str) -> OwnedVolume | None:
    """Return the row of a volume; None where it was neither made by us nor known before there were rows."""
    return write(engine, lambda db: db.get(OwnedVolume, volume_id))


def own(engine: Engine, volume_id: str, origin: str) -> None:
    """Write down that a volume is ours; doing it again changes nothing."""

    def change(db: Session) -> None:
        if db.get(OwnedVolume, volume_id) is None:
            db.add(OwnedVolume(volume_id=volume_id, origin=origin))

    write(engine, change)


def confirm(engine: Engine, row: OwnedVolume) -> None:
    """Write down that CloudStack has a volume with our tag, once."""
    if row.confirmed_at is not None:
        return

    def change(db: Session) -> None:
        found = db.get(OwnedVolume, row.volume_id)
        if found is not None and found.confirmed_at is None:
            found.confirmed_at = utcnow()

    # It may be confirmed the next time; what the volume is used for does not wait for it.
    told(lambda: write(engine, change))


def disown(engine: Engine, volume_id: str) -> None:
    """Delete the row of a volume that is deleted."""

    def change(db: Session) -> None:
        found = db.get(OwnedVolume, volume_id)
        if found is not None:
            db.delete(found)

    write(engine, change)
