"""What all tables share: one metadata per database, UTC times, and the column types that both engines agree on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, DateTime, Integer, MetaData, Text
from sqlalchemy.dialects.mysql import DATETIME, LONGTEXT
from sqlmodel import SQLModel

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraint names are fixed, so that a migration can name what it changes on both engines."""

oma_metadata = MetaData(naming_convention=NAMING)
volumes_metadata = MetaData(naming_convention=NAMING)

# SQLite numbers rows only where the key is INTEGER.
Key: Any = BigInteger().with_variant(Integer, "sqlite")
# Microseconds: steps of one job can follow each other within a millisecond, and MariaDB's default drops fractions.
Time: Any = DateTime().with_variant(DATETIME(fsp=6), "mysql", "mariadb")
# 64 KiB of TEXT is too little for an area list or an answer of the API.
LongText: Any = Text().with_variant(LONGTEXT(), "mysql", "mariadb")


def utcnow() -> datetime:
    """Return the current time in UTC without a zone, as the databases store it."""
    return datetime.now(UTC).replace(tzinfo=None)


class OmaTable(SQLModel):
    """Base of the tables in the OMA database."""

    metadata: ClassVar[MetaData] = oma_metadata


class VolumesTable(SQLModel):
    """Base of the tables in the volume daemon's database."""

    metadata: ClassVar[MetaData] = volumes_metadata
