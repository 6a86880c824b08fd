"""Opens a database for a quick look, by its driver alone: SQLAlchemy takes longer to load than the look itself.

Only for reading, and only where all is well: whatever is out of the ordinary is left to `db.engine`, which says why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from migratekit_core.config.folders import sqlite_dir
from migratekit_core.config.schema import Database
from migratekit_core.db.revisions import heads

CONNECT_TIMEOUT = 10


class NotOrdinaryError(Exception):
    """There is something to say, to do or to wait for first: take the ordinary way."""


class Look:
    """An open database; queries take `?` for a value on both engines."""

    def __init__(self, connection: Any, mark: str) -> None:
        self._connection = connection
        self._mark = mark

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return a query's rows. The query is a constant of ours; everything else goes in `values`."""
        cursor = self._connection.cursor()
        cursor.execute(query.replace("?", self._mark), tuple(values))
        return [tuple(row) for row in cursor.fetchall()]


@contextmanager
def look(database: Database, name: str, socket: Path | None) -> Iterator[Look]:
    """Yield a database that has the newest revision; raise NotOrdinaryError where it has not, or does not answer."""
    try:
        with closing(_connect(database, name, socket)) as connection:
            opened = Look(connection, "?" if database.kind == "sqlite" else "%s")
            if {row[0] for row in opened.rows("SELECT version_num FROM alembic_version")} != heads(name):
                raise NotOrdinaryError
            yield opened
    except NotOrdinaryError:
        raise
    except Exception as error:
        # Whatever it is, the ordinary way meets it again and explains it.
        raise NotOrdinaryError from error


def _connect(database: Database, name: str, socket: Path | None) -> Any:
    if database.kind == "sqlite":
        path = sqlite_dir(database) / f"{name}.sqlite"
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=CONNECT_TIMEOUT)
    import pymysql

    where = socket or database.socket
    return pymysql.connect(
        host=database.host,
        port=database.port,
        unix_socket=str(where) if where else None,
        user=database.user,
        password=database.password.read("database.password") if database.password else "",
        database=getattr(database, name),
        charset="utf8mb4",
        connect_timeout=CONNECT_TIMEOUT,
    )
