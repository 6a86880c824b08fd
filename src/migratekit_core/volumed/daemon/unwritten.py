"""Operations whose row the database has no room for: their row follows as soon as it has.

An operation is written down before anything is done, but for those that only take back what the daemon gave
(RELEASES): where the disk of the database is full, exports would else stay open for good. What a crash leaves of such a
one is still told by the rows of exports and attachments, and by the exporter's folder; asking again finishes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import Engine

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.db.engine import session
from migratekit_core.db.models.volumes import IdempotencyKey, VolumeOperation
from migratekit_core.joblog.later import LaterTracker

RELEASES = frozenset({"unexport", "detach"})
"""Kinds of operations that are taken without a row where there is no room for one."""
RETRY_SECONDS = 1.0


class Unwritten:
    """What is kept in memory; the caller holds `changed`, the lock of who may write to a volume."""

    def __init__(self, engine: Engine, changed: AbstractContextManager[bool], closing: threading.Event) -> None:
        self._engine = engine
        self._changed = changed
        self._closing = closing
        self._operations: dict[str, VolumeOperation] = {}
        self._keys: dict[str, IdempotencyKey] = {}
        self._joblogs: list[LaterTracker] = []
        self._writer: threading.Thread | None = None

    def hold(self, operation: VolumeOperation, key: str | None = None, digest: str = "") -> VolumeOperation:
        """Keep an operation as it is now; return the copy that is kept."""
        held = VolumeOperation(**operation.model_dump())
        self._operations[held.id] = held
        if key:
            self._keys[key] = IdempotencyKey(key=key, operation_id=held.id, request_digest=digest)
        self._start()
        return held

    def keep(self, joblog: LaterTracker) -> None:
        """Keep what an operation has recorded and could not write."""
        self._joblogs.append(joblog)
        self._start()

    def get(self, operation_id: str) -> VolumeOperation | None:
        """Return an operation that is kept."""
        return self._operations.get(operation_id)

    def known(self, key: str | None) -> tuple[IdempotencyKey, VolumeOperation] | None:
        """Return a key whose row is not written, and its operation."""
        row = self._keys.get(key) if key else None
        return (row, self._operations[row.operation_id]) if row is not None else None

    def all(self) -> list[VolumeOperation]:
        """Return all operations that are kept, the newest first."""
        return sorted(self._operations.values(), key=lambda one: one.created_at, reverse=True)

    def write(self) -> None:
        """Write what has ended. Raises what the database reports; what is not written stays."""
        for operation in [one for one in self._operations.values() if one.completed_at is not None]:
            keys = [row for row in self._keys.values() if row.operation_id == operation.id]
            with session(self._engine) as db:
                db.merge(operation)
                db.flush()
                for row in keys:
                    db.merge(row)
            del self._operations[operation.id]
            for row in keys:
                del self._keys[row.key]
        while self._joblogs:
            self._joblogs[0].catch_up(patiently=False)
            del self._joblogs[0]

    def _start(self) -> None:
        if self._writer is None or not self._writer.is_alive():
            self._writer = threading.Thread(target=self._write_all, name="unwritten", daemon=True)
            self._writer.start()

    def _write_all(self) -> None:
        while not self._closing.wait(RETRY_SECONDS):
            with self._changed:
                try:
                    self.write()
                except MigrateKitError:
                    continue
                if not self._operations:
                    self._writer = None
                    return


def no_room(error: MigrateKitError) -> bool:
    """Return whether a database has refused something because its disk is full."""
    return error.code is ErrorCode.NO_SPACE


def told(change: Callable[[], None]) -> None:
    """Correct a row about something that has been taken back; one that there is no room to correct is put right by the
    next comparison, or whatever is done with its volume next."""
    try:
        change()
    except MigrateKitError as error:
        if not no_room(error):
            raise
