"""Compares a live database with the models. A command that would write stops at the first difference."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, ForeignKeyConstraint, MetaData, Table, UniqueConstraint, inspect
from sqlalchemy.exc import DBAPIError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import SchemaMismatchError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.catalogue import as_made
from migratekit_core.db.engine import Databases, database_error
from migratekit_core.db.models import fleet, installation, joblog, networks, oma, sources, volumes, waves  # noqa: F401  (importing registers their tables)
from migratekit_core.db.models.base import oma_metadata, volumes_metadata

METADATA: dict[str, MetaData] = {"oma": oma_metadata, "volumes": volumes_metadata}
NAMES = ("oma", "volumes")
ORDER = ("column", "table", "type", "null", "reference", "unique", "index")
"""What is told first: a missing column says most about which schema is there."""
Change = tuple[Any, ...]
"""One difference as Alembic tells it: its kind, and what it is about (alembic.autogenerate.compare_metadata)."""


@dataclass(frozen=True)
class Difference:
    """Where a database differs from the models; `column` is empty where the table itself is missing."""

    database: str
    table: str
    column: str
    expected: str
    found: str

    def __str__(self) -> str:
        place = f"{self.table}.{self.column}" if self.column else self.table
        return f"{self.database}: {place}: expected {self.expected}, found {self.found}"


def changes(connection: Connection, name: str) -> list[Change]:
    """Return what Alembic would do to make database `name` that of the models: tables, columns, types, keys, indexes.

    What a site has added (tables, columns, plain indexes) is left out: only a constraint of its own could refuse what
    we write.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    metadata = METADATA[name]

    def ours(thing: str | None, kind: str, _parents: Any) -> bool:
        return kind != "table" or thing in metadata.tables

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_name": ours})
    found: list[Change] = []
    for change in compare_metadata(context, metadata):
        found += change if isinstance(change, list) else [change]
    missing = {_place(change[1]) for change in found if change[0] == "add_index"}
    return [change for change in found if not _sites_own(change, missing)]


def _sites_own(change: Change, missing: set[tuple[str, str]]) -> bool:
    if change[0] == "remove_index":
        # Ours under another name is not the site's own.
        return not change[1].unique and _place(change[1]) not in missing
    return change[0] in {"remove_column", "remove_table"}


def _place(thing: Any) -> tuple[str, str]:
    return table_of(thing), _columns(thing)


def compare(engine: Engine, name: str) -> list[Difference]:
    """Return how the tables of `engine` differ from the models of database `name` ("oma" or "volumes").

    Columns that only the database has are named where one of ours is missing, and ignored otherwise: a site may add its
    own.
    """
    try:
        with engine.connect() as connection:
            found = [] if as_made(connection, METADATA[name]) else changes(connection, name)
            return _differences(connection, name, found) if found else []
    except DBAPIError as error:
        raise database_error(error, engine) from error


def _differences(connection: Connection, name: str, found: list[Change]) -> list[Difference]:
    # What is missing and what is there instead are two changes at one place, and one difference.
    wanted: dict[tuple[str, str, str], str] = {}
    instead: dict[tuple[str, str, str], str] = {}
    for change in found:
        kind = change[0]
        if kind == "add_table":
            wanted[change[1].name, "", "table"] = "table"
            instead[change[1].name, "", "table"] = "nothing"
        elif kind == "add_column":
            _, _, table, column = change
            wanted[table, column.name, "column"] = "column"
            instead[table, column.name, "column"] = _no_column(connection, name, table)
        elif kind == "modify_type":
            _, _, table, column, _, live, model = change
            wanted[table, column, "type"] = _type(model, connection)
            instead[table, column, "type"] = _type(live, connection)
        elif kind == "modify_nullable":
            _, _, table, column, _, live, model = change
            wanted[table, column, "null"] = "NULL" if model else "NOT NULL"
            instead[table, column, "null"] = "NULL" if live else "NOT NULL"
        elif kind.startswith(("add_", "remove_")):
            thing = change[1]
            if kind.startswith("add_") and _made_with_its_table(thing, found):
                continue
            place = (table_of(thing), _columns(thing), _kind(thing))
            (wanted if kind.startswith("add_") else instead)[place] = describe(thing)
    places = sorted({**wanted, **instead}, key=lambda place: ORDER.index(place[2]))
    return [
        Difference(name, place[0], place[1], wanted.get(place, "none"), instead.get(place, "none")) for place in places
    ]


def _made_with_its_table(thing: Any, found: list[Change]) -> bool:
    return any(change[0] == "add_table" and change[1].name == table_of(thing) for change in found)


def _no_column(connection: Connection, name: str, table: str) -> str:
    ours = set(METADATA[name].tables[table].columns.keys())
    extra = sorted({column["name"] for column in inspect(connection).get_columns(table)} - ours)
    return f"no such column (has: {', '.join(extra)})" if extra else "no such column"


def _type(kind: Any, connection: Connection) -> str:
    return str(kind.compile(dialect=connection.dialect))


def _kind(thing: Any) -> str:
    if isinstance(thing, ForeignKeyConstraint):
        return "reference"
    return "unique" if isinstance(thing, UniqueConstraint) or thing.unique else "index"


def table_of(thing: Any) -> str:
    """Return the name of the table that a key or an index belongs to."""
    table: Table = thing.table
    return table.name


def _columns(thing: Any) -> str:
    columns: Iterable[Any] = thing.columns
    return ", ".join(column.name for column in columns)


def describe(thing: Any) -> str:
    """Return a key or an index in words, as expected or found."""
    if isinstance(thing, ForeignKeyConstraint):
        targets = ", ".join(element.target_fullname for element in thing.elements)
        return f"a foreign key to {targets}" + (f" on delete {thing.ondelete}" if thing.ondelete else "")
    return f"a unique key {thing.name}" if _kind(thing) == "unique" else f"an index {thing.name}"


def require_schema(databases: Databases, names: tuple[str, ...] = NAMES) -> None:
    """Raise SchemaMismatchError unless each named database has the schema that this version writes.

    Both by default: what is about to be done ends in the volume daemon's database, too.
    """
    for name in names:
        stop_at(compare(getattr(databases, name), name))


def stop_at(differences: list[Difference]) -> None:
    """Raise SchemaMismatchError, naming the first, where there are differences."""
    if differences:
        raise mismatch(differences)


def mismatch(differences: list[Difference]) -> SchemaMismatchError:
    """Return the error for a database that differs: what is missing first, and what to do."""
    if _is_empty(differences):
        return SchemaMismatchError(
            f"the {differences[0].database} database is empty",
            "its tables have not been made yet",
            hint("make them with: ", migratekit("db", "upgrade")),
            code=ErrorCode.SCHEMA_MISSING,
            facts={"database": differences[0].database},
        )
    more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
    return SchemaMismatchError(
        "the database schema is not the one this version writes",
        f"{differences[0]}{more}",
        hint("look with: ", migratekit("db", "check"), "; bring it up to date with: ", migratekit("db", "upgrade")),
        code=ErrorCode.SCHEMA_MISMATCH,
        facts={"database": differences[0].database, "differences": len(differences)},
    )


def _is_empty(differences: list[Difference]) -> bool:
    first = differences[0].database
    missing = {each.table for each in differences if each.database == first and not each.column}
    return missing == set(METADATA[first].tables)


def check_both(databases: Databases) -> list[Difference]:
    """Return how both databases differ from the models."""
    return [*compare(databases.oma, "oma"), *compare(databases.volumes, "volumes")]
