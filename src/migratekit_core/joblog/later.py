"""A job whose work does not wait for the joblog: what the database cannot take now is written afterwards.

For what takes something back that must not be left: a snapshot that grows, an export, a machine that is off. The
database may be away meanwhile, or its disk full.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

from sqlmodel import Session

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.db.engine import session, write
from migratekit_core.joblog.tracker import Job, Tracker

T = TypeVar("T")


class LaterTracker(Tracker):
    """A tracker that tries each change once; from the first that fails on it keeps all of them, in their order."""

    def __init__(self, tracker: Tracker) -> None:
        super().__init__(tracker.engine, tracker._observer, tracker._sink, tracker._ended)
        self._kept: list[Callable[[Session], Any]] = []
        self._lock = threading.RLock()

    def write(self, change: Callable[[Session], T]) -> T | None:
        """Commit a change now, or keep it; None where it is kept."""
        with self._lock:
            if not self._kept:
                try:
                    with session(self.engine) as db:
                        return change(db)
                except MigrateKitError:
                    # Whatever it is, whoever writes it afterwards is told.
                    pass
            self._kept.append(change)
            return None

    def catch_up(self, *, patiently: bool) -> None:
        """Write what was kept; `patiently`: a database that is away is waited for.

        Raises as `write` of db.engine does; what is not written yet stays kept.
        """
        with self._lock:
            while self._kept:
                if patiently:
                    write(self.engine, self._kept[0])
                else:
                    with session(self.engine) as db:
                        self._kept[0](db)
                del self._kept[0]

    def _write(self, change: Callable[[Session], T]) -> T:
        # None is what those take for "nobody asked" who ask something here.
        return cast(T, self.write(change))

    def _insert(self, make: Callable[[], T], known: Callable[[], Any]) -> T:
        row, attempts = cast(Any, make()), 0

        def change(db: Session) -> None:
            nonlocal attempts
            attempts += 1
            found: Any = db.exec(known()).first() if attempts > 1 else None
            if found is None:
                # Made now: the rows that it refers to have their keys by now.
                found = make()
                db.add(found)
                db.flush()
            row.id = found.id

        self.write(change)
        return cast(T, row)


@contextmanager
def later(job: Job) -> Iterator[Job]:
    """Yield the same job, for a block that does not wait for the joblog; what it could not write is written at its end.

    Raises what keeps that from being written, unless the block has failed with something else.
    """
    tracker, same = LaterTracker(job.tracker), copy.copy(job)
    same.tracker = tracker
    try:
        yield same
    except BaseException:
        with suppress(MigrateKitError):
            tracker.catch_up(patiently=True)
        raise
    tracker.catch_up(patiently=True)
