"""Runs Alembic's migrations from sql/, for both databases and both engines."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError
from migratekit_core.db import legacy, owned, sources
from migratekit_core.db.engine import Databases, database_error
from migratekit_core.db.revisions import scripts
from migratekit_core.db.schema import METADATA, Difference, compare, stop_at

LOCK_SECONDS = 60
"""How long one upgrade waits for another on the same database."""
GIVE_WAY_SECONDS = 2
"""How long a change of a table waits for others, and how long it leaves them alone before it tries again."""
PATIENCE_SECONDS = 300
"""How long it is tried again."""


def _config(name: str, **attributes: Any) -> AlembicConfig:
    config = AlembicConfig()
    config.set_main_option("script_location", str(scripts() / name))
    config.set_main_option("path_separator", "os")
    config.attributes.update(attributes)
    return config


@dataclass(frozen=True)
class Upgraded:
    """A database's revision before and after; None where it was empty."""

    database: str
    before: str | None
    after: str
    changed: list[str]
    """SQL that was run beside the migrations, for a database of the field."""


def upgrade_both(databases: Databases) -> list[Upgraded]:
    """Bring both databases to the newest revision. Safe to repeat, also after it was killed half-way."""
    done = []
    for name, engine in (("oma", databases.oma), ("volumes", databases.volumes)):
        before, after, changed = upgrade(engine, name)
        done.append(Upgraded(name, before, after, changed))
    owned.fill(databases)
    return done


def upgrade(engine: Engine, name: str) -> tuple[str | None, str, list[str]]:
    """Bring database `name` to the schema of the models; return the revision before and after, and the repairs.

    An empty database and one of an older revision go through the migrations. One with tables and no revision (of the
    field, or of an upgrade that was killed) and one that was changed by hand get what is missing, statement by
    statement. Raises SchemaMismatchError where that is not possible without losing something.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

    # What an attempt has done stays done, and the next one goes on.
    return Retrying(
        retry=retry_if_exception(
            lambda error: isinstance(error, MigrateKitError) and error.code is ErrorCode.DATABASE_BUSY
        ),
        wait=wait_fixed(GIVE_WAY_SECONDS),
        stop=stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    )(_upgrade, engine, name)


def _upgrade(engine: Engine, name: str) -> tuple[str | None, str, list[str]]:
    try:
        with engine.connect() as connection, _alone(connection, name):
            _give_way(connection)
            before, head = _revision(connection, name), _head(name)
            if before is not None or not _has_tables(connection, name):
                command.upgrade(_config(name, connection=connection), "head")
                connection.commit()
            changed = _repairs(connection, name)
            for statement in changed:
                connection.exec_driver_sql(statement.replace("%", "%%"))
                connection.commit()
            if name == "oma":
                sources.fill(connection)
                connection.commit()
            # Looked at with fresh eyes: a statement that succeeded is not yet a schema that fits.
            stop_at(compare(engine, name))
            if _revision(connection, name) != head:
                command.stamp(_config(name, connection=connection), head)
                connection.commit()
            return before, head, changed
    except DBAPIError as error:
        raise database_error(error, engine) from error


def _give_way(connection: Connection) -> None:
    """Have a change of a table wait only so long for whoever reads it (a backup, for minutes): everybody who writes
    waits behind it. And let it take as long as it takes once it has begun."""
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {GIVE_WAY_SECONDS}, max_statement_time = 0")


@contextmanager
def _alone(connection: Connection, name: str) -> Iterator[None]:
    if connection.dialect.name == "sqlite":
        yield
        return
    lock = f"migratekit-upgrade-{name}"
    if connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", (lock, LOCK_SECONDS)).scalar() != 1:
        raise BusyError(
            f"database {name} is being upgraded",
            "another upgrade holds the lock",
            "wait for it to end",
            code=ErrorCode.ALREADY_RUNNING,
            facts={"database": name},
        )
    try:
        yield
    finally:
        # A lock belongs to the connection, and that goes back to the pool; one that is broken has lost it already.
        with suppress(DBAPIError):
            connection.rollback()
            connection.exec_driver_sql("SELECT RELEASE_LOCK(%s)", (lock,))


def _repairs(connection: Connection, name: str) -> list[str]:
    if connection.dialect.name == "sqlite":
        return legacy.sqlite_statements(connection, name)
    return legacy.statements(connection, name)


def _has_tables(connection: Connection, name: str) -> bool:
    return bool(set(inspect(connection).get_table_names()) & set(METADATA[name].tables))


def _head(name: str) -> str:
    head = ScriptDirectory.from_config(_config(name)).get_current_head()
    assert head is not None, "sql/ holds at least one migration"
    return head


def _revision(connection: Connection, name: str) -> str | None:
    from alembic.runtime.migration import MigrationContext

    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_config(name)).walk_revisions()}
    if current is not None and current not in known:
        stop_at([Difference(name, "alembic_version", "version_num", f"at most {_head(name)}", current)])
    return current


def preview(databases: Databases) -> dict[str, list[str]]:
    """Return the SQL that `upgrade_both` would run on each database; nothing is changed."""
    return {name: _preview(getattr(databases, name), name) for name in ("oma", "volumes")}


def _preview(engine: Engine, name: str) -> list[str]:
    try:
        with engine.connect() as connection:
            before, head = _revision(connection, name), _head(name)
            if before is None and not _has_tables(connection, name):
                return _split(render(name, engine.url))
            if before not in {None, head}:
                return _split(render(name, engine.url, f"{before}:{head}"))
            repairs = _repairs(connection, name)
            if before is None:
                repairs += _split(_stamp(name, engine.url, head))
            return repairs
    except DBAPIError as error:
        raise database_error(error, engine) from error


def _split(sql: str) -> list[str]:
    lines = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return [" ".join(statement.split()) for statement in lines.split(";") if statement.strip()]


def render(name: str, url: URL | None = None, revisions: str = "head") -> str:
    """Return the SQL that makes an empty MariaDB database `name`, as kept in sql/<name>.sql.

    `url` chooses another dialect, `revisions` a part of the way (FROM:TO).
    """
    buffer = io.StringIO()
    url = url or URL.create("mysql+pymysql")
    command.upgrade(_config(name, url=url, buffer=buffer), revisions, sql=True)
    return buffer.getvalue()


def _stamp(name: str, url: URL, head: str) -> str:
    buffer = io.StringIO()
    command.stamp(_config(name, url=url, buffer=buffer), head, sql=True)
    return buffer.getvalue()
