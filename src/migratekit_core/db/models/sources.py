"""Tables that answer without the history: each source machine with its newest syncs, and the volumes it ever had."""

from __future__ import annotations

from sqlalchemy import Index
from sqlmodel import Field

from migratekit_core.db.models.base import LongText, OmaTable
from migratekit_core.db.models.oma import ID, NAME


class SourceVm(OmaTable, table=True):
    """A machine that was replicated, as its newest sync saw it."""

    __tablename__ = "source_vms"

    vm_id: str = Field(max_length=ID, primary_key=True)
    """instanceUuid."""
    name: str = Field(max_length=NAME, index=True)
    path: str = Field(sa_type=LongText)
    newest_job_id: str = Field(max_length=ID, foreign_key="replication_jobs.id", index=True)
    completed_job_id: str | None = Field(
        default=None, max_length=ID, foreign_key="replication_jobs.id", index=True, nullable=True
    )
    """The newest sync that was completed; None where none was."""


class SourceVolume(OmaTable, table=True):
    """A volume that is, or was, a replica of one of a machine's disks."""

    __tablename__ = "source_volumes"

    volume_id: str = Field(max_length=ID, primary_key=True)
    vm_id: str = Field(max_length=ID)
    disk_id: str = Field(max_length=ID)
    """As in vm_disks, when the volume was made."""

    __table_args__ = (Index("ix_source_volumes_vm_id", "vm_id"),)
