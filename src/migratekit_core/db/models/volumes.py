"""Tables of the volume daemon's database: operations, where volumes are attached, what is exported."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, Column
from sqlmodel import Field

from migratekit_core.db.models.base import Key, LongText, Time, VolumesTable, utcnow
from migratekit_core.db.models.oma import ID, NAME


class VolumeOperation(VolumesTable, table=True):
    """A change to a volume: the row is the intent, written before CloudStack is called."""

    __tablename__ = "volume_operations"

    id: str = Field(max_length=ID, primary_key=True)
    type: str = Field(max_length=32)
    status: str = Field(max_length=16, index=True)
    volume_id: str | None = Field(default=None, max_length=ID, index=True)
    vm_id: str | None = Field(default=None, max_length=ID)
    request: dict[str, Any] = Field(default_factory=dict, sa_column=Column("request", JSON, nullable=False))
    response: dict[str, Any] | None = Field(default=None, sa_column=Column("response", JSON))
    error: str | None = Field(default=None, sa_type=LongText)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time, index=True)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})
    completed_at: datetime | None = Field(default=None, sa_type=Time, index=True)


class DeviceMapping(VolumesTable, table=True):
    """Where a volume is attached, as CloudStack says and as Linux says; the two must agree."""

    __tablename__ = "device_mappings"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    volume_id: str = Field(max_length=ID, unique=True)
    vm_id: str = Field(max_length=ID)
    device_path: str | None = Field(default=None, max_length=NAME, unique=True)
    """None where the volume is attached to another machine than this one."""
    cloudstack_state: str = Field(max_length=32)
    linux_state: str = Field(max_length=32)
    size: int = Field(sa_type=BigInteger)
    last_sync: datetime | None = Field(default=None, sa_type=Time)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class NbdExport(VolumesTable, table=True):
    """A volume that is reachable over NBD."""

    __tablename__ = "nbd_exports"

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    volume_id: str = Field(max_length=ID, unique=True, foreign_key="device_mappings.volume_id", ondelete="RESTRICT")
    export_name: str = Field(max_length=NAME, unique=True)
    device_path: str = Field(max_length=NAME)
    port: int
    status: str = Field(max_length=16)
    export_metadata: dict[str, Any] | None = Field(default=None, sa_column=Column("metadata", JSON))
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})


class OwnedVolume(VolumesTable, table=True):
    """A volume that is MigrateKit's: made by the daemon, or known to an installation before there was this table. The
    row goes with the volume, and never before. Without it, and the tag in CloudStack, the daemon touches no volume."""

    __tablename__ = "owned_volumes"

    volume_id: str = Field(max_length=ID, primary_key=True)
    origin: str = Field(max_length=16)
    """`created`, `template-root` (of a machine that a failover made), or `upgrade`: known before."""
    confirmed_at: datetime | None = Field(default=None, sa_type=Time)
    """When CloudStack had it with our tag for the first time (UTC)."""
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)


class IdempotencyKey(VolumesTable, table=True):
    """A key that a client sent with a change: the same key is the same operation, also after a restart."""

    __tablename__ = "idempotency_keys"

    key: str = Field(max_length=128, primary_key=True)
    operation_id: str = Field(max_length=ID, foreign_key="volume_operations.id")
    request_digest: str = Field(max_length=64)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
