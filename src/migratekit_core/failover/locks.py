"""Who may change what: a sync and a cleanup of the same machine do not meet, everything else does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from migratekit_core.db.locks import Lock, vm_lock


@contextmanager
def failover_locks(engine: Engine, vm_uuid: str, purpose: str) -> Iterator[Lock]:
    """Hold a machine against syncs and against whoever makes, or takes away, machines of it; yield the former lock.

    Raises BusyError, naming the holder.
    """
    with vm_lock(engine, vm_uuid, purpose) as lock, destination_lock(engine, vm_uuid, purpose) as destination:
        # A database that was restarted has taken both away.
        lock.hold_beside(destination)
        yield lock


@contextmanager
def destination_lock(engine: Engine, vm_uuid: str, purpose: str) -> Iterator[Lock]:
    """Hold what was made of a machine in CloudStack; syncs go on. Raises BusyError, naming the holder."""
    with vm_lock(engine, f"failover-{vm_uuid}", purpose) as lock:
        yield lock
