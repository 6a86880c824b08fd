"""The table of the mapping of networks."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field

from migratekit_core.db.models.base import Key, OmaTable, Time, utcnow
from migratekit_core.db.models.oma import NAME


class NetworkMapping(OmaTable, table=True):
    """Which network of the cloud stands for a network of the source, or for one card of one machine."""

    __tablename__ = "network_mappings"
    __table_args__ = (UniqueConstraint("machine", "source"),)

    id: int | None = Field(default=None, sa_type=Key, primary_key=True)
    machine: str = Field(default="", max_length=NAME)
    """"" for a network; else the machine (name, inventory path, instanceUuid) whose card `source` names."""
    source: str = Field(max_length=NAME)
    target: str | None = Field(default=None, max_length=NAME)
    """None: left out."""
    origin: str = Field(max_length=32)
    created_at: datetime = Field(default_factory=utcnow, sa_type=Time)
    updated_at: datetime = Field(default_factory=utcnow, sa_type=Time, sa_column_kwargs={"onupdate": utcnow})
