"""What a conversion needs of the failover that it is a part of."""

from __future__ import annotations

from typing import Any, Protocol

from migratekit_core.db.models.oma import FailoverJob


class Record(Protocol):
    """One failover's rows; every method is one transaction (services.failover.record has them)."""

    @property
    def id(self) -> str:
        """Return the failover's id."""

    def row(self) -> FailoverJob:
        """Return the failover_jobs row."""

    def state(self) -> dict[str, Any]:
        """Return what is remembered beside the row."""

    def remember(self, **values: Any) -> None:
        """Add to what is remembered."""
