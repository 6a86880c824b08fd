"""One run per machine. The lock dies with its process, so a kill -9 never leaves a machine locked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from migratekit_core.db.engine import database_error, session
from migratekit_core.errors import BusyError
from migratekit_core.files import PRIVATE
from migratekit_core.models.base import utcnow
from migratekit_core.models.oma import VmLock


def _lock_name(vm_id: str) -> str:
    # MariaDB's names are limited to 64 characters.
    return "migratekit-" + hashlib.sha256(vm_id.encode()).hexdigest()[:40]


@contextmanager
def vm_lock(engine: Engine, vm_id: str, purpose: str) -> Iterator[None]:
    """Hold the machine `vm_id` (its source id) for `purpose`; raise BusyError, naming the holder, if it is held."""
    name = _lock_name(vm_id)
    holder = f"{purpose} (pid {os.getpid()} on {socket.gethostname()})"
    lock = _file_lock if engine.dialect.name == "sqlite" else _server_lock
    with lock(engine, name):
        with session(engine) as db:
            db.merge(VmLock(name=name, holder=holder, acquired_at=utcnow()))
        yield


@contextmanager
def _server_lock(engine: Engine, name: str) -> Iterator[None]:
    """MariaDB's own lock: it belongs to the connection, which the server ends when this process is gone."""
    try:
        with engine.connect() as connection:
            got = connection.exec_driver_sql("SELECT GET_LOCK(%s, 0)", (name,)).scalar()
            connection.commit()
            if got != 1:
                raise _busy(engine, name)
            try:
                yield
            finally:
                # A connection that died has given the lock back already: no reason to call the work itself failed.
                with contextlib.suppress(DBAPIError):
                    if not connection.invalidated:
                        connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (name,))
                        connection.commit()
    except DBAPIError as error:
        raise database_error(error, engine) from error


@contextmanager
def _file_lock(engine: Engine, name: str) -> Iterator[None]:
    path = Path(f"{engine.url.database}.{name}.lock")
    path.touch(mode=PRIVATE)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _busy(engine, name) from None
        yield


def _busy(engine: Engine, name: str) -> BusyError:
    with session(engine) as db:
        held = db.get(VmLock, name)
    who = f"{held.holder}, since {held.acquired_at:%Y-%m-%d %H:%M:%S} UTC" if held else "another run"
    return BusyError("this machine is being worked on", f"held by {who}", "wait for it (migratekit jobs list)")
