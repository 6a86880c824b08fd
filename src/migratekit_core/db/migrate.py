"""Runs Alembic's migrations from sql/, for both databases and both engines."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Engine
from sqlalchemy.exc import DBAPIError

from migratekit_core.db.engine import Databases, database_error
from migratekit_core.errors import BusyError, OperationFailedError

LOCK_SECONDS = 60
"""How long one upgrade waits for another on the same database."""


def scripts() -> Path:
    """Return the folder of the migrations: inside the installed package, or the checkout's sql/."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "sql", package.parents[1] / "sql"):
        if (folder / "oma").is_dir():
            return folder
    raise OperationFailedError("the migrations are missing", f"no sql folder beside {package}", "reinstall migratekit")


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


def upgrade_both(databases: Databases) -> list[Upgraded]:
    """Bring both databases to the newest revision. Safe to repeat."""
    done = []
    for name, engine in (("oma", databases.oma), ("volumes", databases.volumes)):
        before, after = upgrade(engine, name)
        done.append(Upgraded(name, before, after))
    return done


def upgrade(engine: Engine, name: str) -> tuple[str | None, str]:
    """Bring database `name` to the newest revision; return the revision before and after. Safe to repeat."""
    from alembic.runtime.migration import MigrationContext

    head = ScriptDirectory.from_config(_config(name)).get_current_head()
    assert head is not None, "sql/ holds at least one migration"
    try:
        with engine.connect() as connection:
            if engine.dialect.name != "sqlite":
                lock = (f"migratekit-upgrade-{name}", LOCK_SECONDS)
                if connection.exec_driver_sql("SELECT GET_LOCK(%s, %s)", lock).scalar() != 1:
                    raise BusyError(
                        f"database {name} is being upgraded", "another upgrade holds the lock", "wait for it to end"
                    )
            before = MigrationContext.configure(connection).get_current_revision()
            command.upgrade(_config(name, connection=connection), "head")
            connection.commit()
            return before, head
    except DBAPIError as error:
        raise database_error(error, engine) from error


def render(name: str) -> str:
    """Return the SQL that makes an empty MariaDB database `name`, as kept in sql/<name>.sql."""
    buffer = io.StringIO()
    command.upgrade(_config(name, url=URL.create("mysql+pymysql"), buffer=buffer), "head", sql=True)
    return buffer.getvalue()
