"""Tables about what MigrateKit has at the source: its snapshots, and which disk a volume is the replica of."""

from __future__ import annotations

from datetime import datetime

from sqlmodel import Field

from migratekit_core.db.models.base import LongText, OmaTable, Time, utcnow
from migratekit_core.db.models.oma import ID, NAME

TOKEN = 12
"""Length of an installation's id."""


class Installation(OmaTable, table=True):
    """The one row that says which installation this database belongs to."""

    __tablename__ = "installation"

    id: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    """Always 1."""
    token: str = Field(max_length=TOKEN)
    """Stands in the names of its snapshots in vCenter, where other installations have theirs."""
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)


class ReplicaDisk(OmaTable, table=True):
    """Which disk a volume is the replica of. A volume of an older version has no row until its next sync."""

    __tablename__ = "replica_disks"

    volume_id: str = Field(max_length=ID, primary_key=True)
    disk_uuid: str = Field(max_length=NAME)
    """Of the disk's backing: it stays when the disk moves to another slot, which the device key does not."""
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class PendingRemoval(OmaTable, table=True):
    """A snapshot of ours whose removal goes on at the source though its job has ended, or could not be done yet."""

    __tablename__ = "pending_removals"

    vm_uuid: str = Field(max_length=ID, primary_key=True)
    """instanceUuid of its machine."""
    snapshot_id: str = Field(max_length=NAME, primary_key=True)
    """Managed object id."""
    vm_name: str = Field(max_length=NAME)
    vcenter_host: str = Field(max_length=NAME)
    job_id: str = Field(max_length=ID)
    task_id: str | None = Field(default=None, max_length=NAME)
    """Managed object id of vSphere's task; None where none was begun."""
    reason: str | None = Field(default=None, sa_type=LongText)
    """What the removal waits for, in vSphere's words."""
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
