"""Opens the two databases, on MariaDB or SQLite, and turns the driver's errors into ours."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    AuthError,
    MigrateKitError,
    OmaUnreachableError,
    OperationFailedError,
    UnreachableError,
)
from migratekit_core.common.foreign import Row, classify
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.patience import growing
from migratekit_core.config.folders import sqlite_dir
from migratekit_core.config.schema import Database
from migratekit_core.db.outage import Outage

if TYPE_CHECKING:
    from sqlmodel import Session

T = TypeVar("T")
Name = Literal["oma", "volumes"]

CONNECT_TIMEOUT = 10
PATIENCE_SECONDS = 180.0
"""Of an engine that was opened by itself; the others have `database.patience`."""
FROZEN_SECONDS = 10
"""After how long MariaDB ends a transaction whose process says nothing any more. A host that froze, or lost its power
or its link, would else keep rows locked for hours, and stop whoever takes its work over. Ours take milliseconds."""
STATEMENT_SECONDS = 120
"""After how long MariaDB ends a statement: a client that was killed would leave its query running for hours."""
CROWDED_SECONDS = 10
"""For how long a connection is tried for that MariaDB has no room for."""
SQLITE_BUSY_TIMEOUT = 30
"""Seconds; several processes write the same SQLite file, each for a moment."""
GONE = frozenset({1053, 1927, 2002, 2003, 2006, 2013})
"""MariaDB's error numbers for a server that stops, is stopped or cannot be reached."""
CROWDED = frozenset({1040, 1205, 1213})
"""Too many connections; a lock waited for too long; a deadlock, which MariaDB solves by refusing one of the two."""
NO_ROOM = 1040
"""MariaDB's error number for `max_connections` reached."""
STOPPED = 1969
"""MariaDB's error number for a statement that took longer than max_statement_time."""
ACCESS_DENIED = frozenset({1044, 1045, 1698})
"""MariaDB's error numbers for a wrong user, password or database right."""


@dataclass(frozen=True)
class Databases:
    """Both databases of an installation."""

    oma: Engine
    volumes: Engine

    def dispose(self) -> None:
        """Close all connections."""
        self.oma.dispose()
        self.volumes.dispose()


def open_databases(
    database: Database, socket: Path | None = None, note: Callable[[str], None] | None = None
) -> Databases:
    """Return engines for both databases; nothing is connected yet.

    `socket` is the tunnel's local end where there is a tunnel. `note` is told when a database goes away, and when it is
    back.
    """
    found = Databases(oma=open_engine(database, "oma", socket), volumes=open_engine(database, "volumes", socket))
    _outages[found.oma] = _outages[found.volumes] = Outage(database.patience, note)
    return found


_outages: WeakKeyDictionary[Engine, Outage] = WeakKeyDictionary()
"""Whether a server is away, by the engines of its databases."""


def open_engine(database: Database, name: Name, socket: Path | None = None) -> Engine:
    """Return the engine of one database."""
    if database.kind == "sqlite":
        return _sqlite(sqlite_dir(database), name)
    connect: dict[str, Any] = {
        "connect_timeout": CONNECT_TIMEOUT,
        "charset": "utf8mb4",
        "init_command": f"SET SESSION idle_transaction_timeout = {FROZEN_SECONDS}, "
        f"max_statement_time = {STATEMENT_SECONDS}",
    }
    if database.password is not None:
        connect["password"] = database.password.read("database.password")
    path = socket or database.socket
    if path is not None:
        connect["unix_socket"] = str(path)
    url = URL.create(
        "mysql+pymysql",
        username=database.user,
        host=database.host,
        port=database.port,
        database=getattr(database, name),
    )
    # pool_pre_ping: a tunnel or a server that was restarted since costs a new connection, not a failed step.
    # READ COMMITTED: a long-lived session that polls a row must see what others commit.
    engine = create_engine(
        url, connect_args=connect, pool_pre_ping=True, pool_recycle=300, isolation_level="READ COMMITTED"
    )
    event.listen(engine, "do_connect", _patiently)
    return engine


def _patiently(dialect: Any, _record: Any, arguments: Any, options: Any) -> Any:
    """Connect, and try again for some seconds where MariaDB has no room: others end theirs every moment."""
    until = time.monotonic() + CROWDED_SECONDS
    for attempt in itertools.count(1):
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError as error:
            pause = growing(attempt, 0.1, 2.0)
            if _number(error) != NO_ROOM or time.monotonic() + pause > until:
                raise
        time.sleep(pause)
    raise AssertionError("it counts without end")


def _sqlite(directory: Path, name: Name) -> Engine:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = directory / f"{name}.sqlite"
        path.touch(mode=0o600)
    except OSError as error:
        raise OperationFailedError(
            f"database folder {directory} cannot be written",
            error.strerror or str(error),
            "free space, or set database.directory",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(directory)},
        ) from error
    engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": SQLITE_BUSY_TIMEOUT})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    return engine


@contextmanager
def session(engine: Engine) -> Iterator[Session]:
    """A session whose block is one transaction: committed at its end, rolled back on an error.

    Raises UnreachableError, AuthError or OperationFailedError for what the driver reports.
    """
    # Here: `jobs list` opens a database, and has no use for the models and what they are made of.
    from sqlmodel import Session

    try:
        with Session(engine, expire_on_commit=False) as opened:
            yield opened
            opened.commit()
    except DBAPIError as error:
        raise database_error(error, engine) from error
    except PoolTimeoutError as error:
        raise crowded(engine, error) from None


def write(engine: Engine, change: Callable[[Session], T]) -> T:
    """Commit one change and return what it returned, waiting out a database that is away.

    The change may run more than once. Raises as `session` does; UnreachableError where the server has been away for
    `database.patience`, by whichever write began to wait for it.
    """
    outage = _outages.setdefault(engine, Outage(PATIENCE_SECONDS))
    for failures in itertools.count(1):
        try:
            with session(engine) as db:
                found = change(db)
        except UnreachableError as error:
            pause = outage.pause(error, failures)
            if pause is None:
                raise
            time.sleep(pause)
        else:
            outage.over()
            return found
    raise AssertionError("it counts without end")


def answers(engine: Engine) -> bool:
    """Return whether a database answers, and lets us in, without waiting for one that is away."""
    try:
        with session(engine) as db:
            db.connection().exec_driver_sql("SELECT 1")
    except MigrateKitError:
        return False
    return True


SAYS = (
    Row(ErrorCode.NO_SPACE, r"full", ("database or disk is full", "The table 'joblog_events' is full", "Disk full")),
)
"""What SQLite and MariaDB say."""


def crowded(engine: Engine, error: PoolTimeoutError) -> UnreachableError:
    """Return our error where all connections of this process stayed in use."""
    why = f"this process has all its connections to it in use ({error})"
    return UnreachableError(
        f"{engine.url.database} is too busy",
        why,
        "wait a moment and run the command again",
        code=ErrorCode.DATABASE_BUSY,
        facts={"database": engine.url.database},
    )


def _number(error: BaseException | None) -> object:
    """Return MariaDB's error number, which PyMySQL gives first, or None."""
    return next(iter(getattr(error, "args", ())), None)


def database_error(error: DBAPIError, engine: Engine) -> MigrateKitError:
    """Return our error for one of the database driver's."""
    where = f"{engine.url.database}" if engine.dialect.name == "sqlite" else f"MariaDB ({engine.url.database})"
    number = _number(error.orig)
    arguments = getattr(error.orig, "args", ())
    reason = str(arguments[-1]) if arguments else type(error).__name__
    if number in ACCESS_DENIED:
        return AuthError(
            f"{where} refused the login",
            reason,
            "check database.user and database.password",
            code=ErrorCode.DATABASE_LOGIN_REFUSED,
        )
    if isinstance(error, OperationalError) and classify(SAYS, reason) is ErrorCode.NO_SPACE:
        return OperationFailedError(
            f"{where} has no space left", reason, "free space and run the command again", code=ErrorCode.NO_SPACE
        )
    if number == STOPPED:
        return OperationFailedError(
            f"{where} did not answer within {STATEMENT_SECONDS} s",
            reason,
            hint(
                "look at its size, and what else works on it: ",
                migratekit("doctor"),
                "; then: ",
                migratekit("jobs", "prune"),
            ),
            code=ErrorCode.DATABASE_SLOW,
        )
    if number in CROWDED:
        return UnreachableError(
            f"{where} is too busy", reason, "wait a moment and run the command again", code=ErrorCode.DATABASE_BUSY
        )
    if error.connection_invalidated or (isinstance(error, OperationalError) and number in GONE):
        if number == 2013:
            # A tunnel takes the connection and closes it where it cannot reach the other end.
            reason = f"{reason} (the tunnel took the connection, and closed it)"
        return OmaUnreachableError(
            f"{where} does not answer",
            reason,
            hint("check that the server runs; look with: ", migratekit("tunnel", "status")),
            code=ErrorCode.DATABASE_UNREACHABLE,
        )
    return OperationFailedError(
        f"{where} refused a statement",
        reason,
        hint("run: ", migratekit("db", "check")),
        code=ErrorCode.DATABASE_REFUSED,
    )


def db_time(db: Session) -> datetime:
    """Return the database's time, UTC: the clocks of the hosts may differ."""
    if db.get_bind().dialect.name == "sqlite":
        return datetime.now(UTC).replace(tzinfo=None)  # its clock is this host's
    found: datetime = db.connection().exec_driver_sql("SELECT UTC_TIMESTAMP(6)").scalar_one()
    return found
