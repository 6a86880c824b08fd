"""One run per machine. The lock dies with its process, so a kill -9 never leaves a machine locked.

On MariaDB it belongs to a connection, which a tunnel that reconnects or a server that restarts takes away. Whoever got
the lock meanwhile has written its own name over ours, so before anything is committed the holder looks (`Lock.ensure`):
still held, or taken back with nobody in between, or lost.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, InvalidRequestError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlmodel import Session, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError
from migratekit_core.common.files import PRIVATE
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import crowded, database_error, session, write
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import VmLock

MOMENT_SECONDS = 90
"""How long who holds a machine for a moment is waited for; as a rule it takes seconds."""


class LockKind(StrEnum):
    """For how long a machine is held."""

    RUN = "run"
    """As long as a command works on it: who comes meanwhile is refused."""
    MOMENT = "moment"
    """While the volume daemon detaches one of its idle volumes: who comes meanwhile waits."""


class Lock:
    """A machine's lock, held by this run."""

    def __init__(self, engine: Engine, name: str, purpose: str, kind: LockKind) -> None:
        self._engine = engine
        self._name = name
        self._kind = kind
        self._holder = f"{purpose} (pid {os.getpid()} on {socket.gethostname()})"
        self._token = str(uuid.uuid4())
        self._connection: Connection | None = None
        self._beside: list[Lock] = []

    def hold_beside(self, other: Lock) -> None:
        """Have another lock, which is held as well, be looked after whenever this one is."""
        self._beside.append(other)

    def ensure(self) -> None:
        """Return only if nobody else has held the lock since we got it; wait out a database that is away for a moment.

        Raises BusyError where another run got it, UnreachableError where the database stays away.
        """
        for other in self._beside:
            other.ensure()
        if self._connection is None:
            return
        held = "SELECT IS_USED_LOCK(%s) = CONNECTION_ID()"
        # InvalidRequestError: an interrupted statement has made SQLAlchemy give the connection up.
        with contextlib.suppress(DBAPIError, InvalidRequestError):
            if self._connection.exec_driver_sql(held, (self._name,)).scalar() == 1:
                self._connection.commit()
                return
        with contextlib.suppress(DBAPIError, InvalidRequestError):
            self._connection.invalidate()
            self._connection.close()
        write(self._engine, lambda db: db.get(VmLock, self._name))  # waits until the database is back
        self._acquire(5)
        last = write(self._engine, lambda db: db.get(VmLock, self._name))
        # The holder as well: a version that knows no tokens leaves ours where it is.
        if last is None or (last.token, last.holder) != (self._token, self._holder):
            raise _busy(self._engine, self._name)

    def confirm(self, db: Session) -> None:
        """Return only if nobody else has taken the lock, as `ensure`, but within the caller's transaction, of which it
        has to be the first statement: nobody takes it before that transaction ends.

        Raises BusyError where another run got it.
        """
        if db.get_bind().dialect.name == "sqlite":
            db.connection().exec_driver_sql("BEGIN IMMEDIATE")
        for lock in (self, *self._beside):
            query = select(VmLock).where(VmLock.name == lock._name).with_for_update()
            last = db.exec(query).first()
            if last is None or (last.token, last.holder) != (lock._token, lock._holder):
                raise _busy(self._engine, lock._name)

    def take(self) -> None:
        """Take the lock, and write down who has it. Raises BusyError, naming the holder, if it is held. Who holds it
        for a moment only is waited for."""
        if self._engine.dialect.name != "sqlite":
            try:
                self._acquire(0)
            except BusyError:
                if not _for_a_moment(self._engine, self._name):
                    raise
                self._acquire(MOMENT_SECONDS)

        def row() -> VmLock:
            return VmLock(
                name=self._name, holder=self._holder, kind=self._kind, token=self._token, acquired_at=utcnow()
            )

        write(self._engine, lambda db: db.merge(row()))

    def _acquire(self, seconds: int) -> None:
        try:
            self._connection = self._engine.connect()
            got = self._connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (self._name, seconds)).scalar()
            self._connection.commit()
        except DBAPIError as error:
            raise database_error(error, self._engine) from error
        except PoolTimeoutError as error:
            raise crowded(self._engine, error) from None
        if got != 1:
            self.release()
            raise _busy(self._engine, self._name)

    def release(self) -> None:
        """Give the lock back; a connection that died has done so already."""
        if self._connection is None:
            return
        with contextlib.suppress(DBAPIError, InvalidRequestError):
            if not self._connection.invalidated:
                self._connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (self._name,))
                self._connection.commit()
            self._connection.close()
        self._connection = None


def lock_name(vm_id: str) -> str:
    """Return the name of a machine's lock: MariaDB's are limited to 64 characters."""
    return "migratekit-" + hashlib.sha256(vm_id.encode()).hexdigest()[:40]


def is_held(db: Session, vm_id: str) -> bool:
    """Return whether any process, on any host, holds a machine's lock; of SQLite's, which is this host's, nothing is
    said."""
    if db.get_bind().dialect.name == "sqlite":
        return False
    found = db.connection().exec_driver_sql("SELECT IS_USED_LOCK(%s)", (lock_name(vm_id),)).scalar()
    return found is not None


@contextmanager
def vm_lock(engine: Engine, vm_id: str, purpose: str, kind: LockKind = LockKind.RUN) -> Iterator[Lock]:
    """Hold the machine `vm_id` (its source id) for `purpose`; raise BusyError, naming the holder, if it is held."""
    name = lock_name(vm_id)
    lock = Lock(engine, name, purpose, kind)
    with _file_lock(engine, name) if engine.dialect.name == "sqlite" else contextlib.nullcontext():
        try:
            lock.take()
            yield lock
        finally:
            lock.release()


@contextmanager
def destination_lock(engine: Engine, vm_uuid: str, purpose: str, kind: LockKind = LockKind.RUN) -> Iterator[Lock]:
    """Hold what was made of a machine in CloudStack; syncs go on. Raises BusyError, naming the holder."""
    with vm_lock(engine, f"failover-{vm_uuid}", purpose, kind) as lock:
        yield lock


@contextmanager
def whole_lock(engine: Engine, vm_uuid: str, purpose: str, kind: LockKind = LockKind.RUN) -> Iterator[Lock]:
    """Hold a machine against syncs and against whoever makes, or takes away, machines of it; yield the former lock.

    Raises BusyError, naming the holder.
    """
    with (
        vm_lock(engine, vm_uuid, purpose, kind) as lock,
        destination_lock(engine, vm_uuid, purpose, kind) as destination,
    ):
        # A database that was restarted has taken both away.
        lock.hold_beside(destination)
        yield lock


@contextmanager
def _file_lock(engine: Engine, name: str) -> Iterator[None]:
    path = Path(f"{engine.url.database}.{name}.lock")
    path.touch(mode=PRIVATE)
    deadline = time.monotonic() + MOMENT_SECONDS
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline or not _for_a_moment(engine, name):
                    raise _busy(engine, name) from None
                time.sleep(0.2)
        yield


def _for_a_moment(engine: Engine, name: str) -> bool:
    held = write(engine, lambda db: db.get(VmLock, name))
    return held is not None and held.kind == LockKind.MOMENT


def _busy(engine: Engine, name: str) -> BusyError:
    with session(engine) as db:
        held = db.get(VmLock, name)
    who = "another run"
    if held is not None:
        who = f"{held.holder}, since {held.acquired_at:%Y-%m-%d %H:%M:%S} UTC"
    return BusyError(
        "this machine is being worked on",
        f"held by {who}",
        hint("wait for it (", migratekit("jobs", "list"), ")"),
        code=ErrorCode.LOCKED,
    )
