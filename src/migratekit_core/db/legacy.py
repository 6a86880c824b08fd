"""The way from a database of the field to the schema of the models, on MariaDB: a list of statements made by looking.

MariaDB commits each change of a table by itself. So nothing remembers how far an upgrade got: the list is made anew
from what is there, and an upgrade that was killed goes on with what is left of it.
"""

# ruff: noqa: S608  (names of tables and columns are the models' own, and quoted; values are never part of a statement)

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Connection, ForeignKeyConstraint, Index, MetaData, Table, UniqueConstraint, inspect
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from migratekit_core.db.schema import METADATA, Change, Difference, changes, stop_at, table_of

RENAMED = {("device_mappings", "volume_id"): "volume_uuid", ("nbd_exports", "volume_id"): "volume_uuid"}
"""Columns by their names of today, and what they were called in the field."""
SESSION = ("SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')", "SET SESSION time_zone = '+00:00'")
"""What does not fit is an error, never cut; and a TIMESTAMP becomes a DATETIME in UTC."""


def statements(connection: Connection, name: str) -> list[str]:
    """Return the SQL that makes the live MariaDB database `name` that of the models, in order; empty if it is.

    Raises SchemaMismatchError for what no statement can make right: two names of one column that disagree, or a missing
    column that must have a value.
    """
    found = changes(connection, name)
    if not found:
        return []
    return [*SESSION, *_Plan(connection, METADATA[name], name, found).sql()]


def sqlite_statements(connection: Connection, name: str) -> list[str]:
    """Return the SQL that completes a SQLite database: old names of columns, tables and indexes that are missing.

    The field had MariaDB only; what is missing here is what a killed upgrade did not get to.
    """
    inspector = inspect(connection)
    tables = inspector.get_table_names()
    found = []
    for (table, column), old in RENAMED.items():
        live = {held["name"] for held in inspector.get_columns(table)} if table in tables else set()
        if old in live and column not in live:
            # SQLite changes the keys and the foreign keys with the name.
            found.append(f"ALTER TABLE {table} RENAME COLUMN {old} TO {column}")
    for change in [] if found else changes(connection, name):
        if change[0] == "add_table":
            found += _created(change[1], connection)
        elif change[0] == "add_index" and table_of(change[1]) in tables:
            found.append(_text(CreateIndex(change[1]), connection))
    return found


def _created(table: Table, connection: Connection) -> list[str]:
    indexes = sorted(table.indexes, key=lambda index: str(index.name))
    return [_text(CreateTable(table), connection), *(_text(CreateIndex(index), connection) for index in indexes)]


def _text(element: Any, connection: Connection) -> str:
    return " ".join(str(element.compile(dialect=connection.dialect)).split())


class _Plan:
    """The statements for one database, in the order: foreign keys off, columns, keys, new tables, foreign keys on."""

    def __init__(self, connection: Connection, metadata: MetaData, name: str, found: list[Change]) -> None:
        self._connection = connection
        self._quote = connection.dialect.identifier_preparer.quote
        self._metadata = metadata
        self._name = name
        self._found = found
        self._live = {
            table: {column["name"] for column in inspect(connection).get_columns(table)}
            for table in inspect(connection).get_table_names()
            if table in metadata.tables
        }

    def sql(self) -> Iterator[str]:
        new = [change[1] for change in self._found if change[0] == "add_table"]
        columns = self._columns()
        dropped = list(self._keys_in_the_way({key for key, _ in columns}))
        for key in dropped:
            yield f"ALTER TABLE {self._quote(table_of(key))} DROP FOREIGN KEY {self._quote(str(key.name))}"
        for _, texts in columns:
            yield from texts
        yield from self._indexes()
        for table in new:
            yield from _created(table, self._connection)
        yield from self._foreign_keys(dropped)

    def _columns(self) -> list[tuple[tuple[str, str], list[str]]]:
        """Return each column that changes, with its statements."""
        wrong = {(change[2], change[3]) for change in self._found if change[0].startswith("modify_")}
        wrong |= {(change[2], change[3].name) for change in self._found if change[0] == "add_column"}
        wrong |= {key for key, old in RENAMED.items() if old in self._live.get(key[0], ())}
        return [
            ((table.name, column.name), self._column(table.name, column))
            for table in self._metadata.sorted_tables
            for column in table.columns
            if (table.name, column.name) in wrong
        ]

    def _column(self, table: str, column: Column[Any]) -> list[str]:
        name, quote = column.name, self._quote
        alter = f"ALTER TABLE {quote(table)} "
        wanted = self._specification(column)
        old = RENAMED.get((table, name))
        has = self._live[table]
        if old in has and name in has:
            self._agree(table, name, old)
            # updated_at: MariaDB would set it to now by itself where the column says ON UPDATE.
            kept = f", {quote('updated_at')} = {quote('updated_at')}" if "updated_at" in has else ""
            return [
                f"UPDATE {quote(table)} SET {quote(name)} = {quote(old)}{kept}"
                f" WHERE {quote(name)} IS NULL OR {quote(name)} = ''",
                f"{alter}DROP COLUMN {quote(old)}, MODIFY {wanted}",
            ]
        if old in has:
            return [f"{alter}CHANGE {quote(old)} {wanted}"]
        if name in has:
            return [f"{alter}MODIFY {wanted}"]
        if not column.nullable and column.server_default is None and self._rows(table):
            stop_at([Difference(self._name, table, name, "column", "no such column, and rows that need a value in it")])
        return [f"{alter}ADD {wanted}"]

    def _specification(self, column: Column[Any]) -> str:
        return _text(CreateColumn(column), self._connection)

    def _agree(self, table: str, name: str, old: str) -> None:
        quote = self._quote
        clash = self._connection.exec_driver_sql(
            f"SELECT {quote(name)}, {quote(old)} FROM {quote(table)}"
            f" WHERE {quote(name)} <> '' AND {quote(old)} <> '' AND {quote(name)} <> {quote(old)} LIMIT 1"
        ).first()
        if clash is not None:
            stop_at([Difference(self._name, table, name, f"the same as {old} ({clash[1]})", str(clash[0]))])

    def _rows(self, table: str) -> bool:
        return self._connection.exec_driver_sql(f"SELECT 1 FROM {self._quote(table)} LIMIT 1").first() is not None

    def _keys_in_the_way(self, changing: set[tuple[str, str]]) -> Iterator[ForeignKeyConstraint]:
        """Yield the live foreign keys that are wrong, and those whose columns cannot change while they are there."""
        wrong = {change[1].name for change in self._found if change[0] == "remove_fk"}
        live = MetaData()
        live.reflect(self._connection, only=list(self._live))
        changing = changing | {(table, RENAMED[table, name]) for table, name in changing if (table, name) in RENAMED}
        for table in live.sorted_tables:
            for key in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
                ends = {(table.name, element.parent.name) for element in key.elements}
                ends |= {(element.column.table.name, element.column.name) for element in key.elements}
                if key.name in wrong or ends & changing:
                    yield key

    def _indexes(self) -> Iterator[str]:
        """Yield what makes the unique keys and indexes right; the same columns under another name are renamed."""
        there = [change[1] for change in self._found if change[0] in {"remove_constraint", "remove_index"}]
        for wanted in [change[1] for change in self._found if change[0] in {"add_constraint", "add_index"}]:
            if table_of(wanted) not in self._live:
                continue
            table, name = self._quote(table_of(wanted)), self._quote(wanted.name)
            same = next((one for one in there if self._covers(one) == self._covers(wanted)), None)
            if same is not None and same.name != wanted.name:
                there.remove(same)
                yield f"ALTER TABLE {table} RENAME INDEX {self._quote(same.name)} TO {name}"
            elif same is not None:
                there.remove(same)
            else:
                kind = "INDEX" if isinstance(wanted, Index) and not wanted.unique else "UNIQUE INDEX"
                columns = ", ".join(self._quote(column.name) for column in wanted.columns)
                yield f"ALTER TABLE {table} ADD {kind} {name} ({columns})"
        for one in there:
            if not self._goes_with_its_column(one):
                yield f"ALTER TABLE {self._quote(table_of(one))} DROP INDEX {self._quote(one.name)}"

    def _covers(self, index: Any) -> tuple[str, bool, tuple[str, ...]]:
        """Return an index's table, whether it is unique, and its columns by the names they will have."""
        table = table_of(index)
        new = {
            old: name
            for (renamed, name), old in RENAMED.items()
            if renamed == table and name not in self._live.get(table, ())
        }
        unique = isinstance(index, UniqueConstraint) or bool(index.unique)
        return table, unique, tuple(new.get(column.name, column.name) for column in index.columns)

    def _goes_with_its_column(self, index: Any) -> bool:
        table, live = table_of(index), self._live[table_of(index)]
        names = {column.name for column in index.columns}
        return any(
            names == {old} and old in live and name in live
            for (renamed, name), old in RENAMED.items()
            if renamed == table
        )

    def _foreign_keys(self, dropped: list[ForeignKeyConstraint]) -> Iterator[str]:
        missing = {self._source(change[1]) for change in self._found if change[0] == "add_fk"}
        missing |= {self._source(key) for key in dropped}
        for table in self._metadata.sorted_tables:
            for key in sorted(table.foreign_key_constraints, key=lambda key: str(key.name)):
                if table.name not in self._live or self._source(key) not in missing:
                    continue
                (element,) = key.elements
                parent, target = element.column.table.name, element.column.name
                self._no_orphans(table.name, element.parent.name, parent, target)
                rule = f" ON DELETE {key.ondelete}" if key.ondelete else ""
                yield (
                    f"ALTER TABLE {self._quote(table.name)} ADD CONSTRAINT {self._quote(str(key.name))}"
                    f" FOREIGN KEY ({self._quote(element.parent.name)})"
                    f" REFERENCES {self._quote(parent)} ({self._quote(target)}){rule}"
                )

    def _source(self, key: ForeignKeyConstraint) -> tuple[str, tuple[str, ...]]:
        table = table_of(key)
        new = {old: name for (renamed, name), old in RENAMED.items() if renamed == table}
        return table, tuple(new.get(element.parent.name, element.parent.name) for element in key.elements)

    def _no_orphans(self, table: str, column: str, parent: str, target: str) -> None:
        if parent not in self._live:
            return
        child, known = self._held(table, column), self._held(parent, target)
        orphan = self._connection.exec_driver_sql(
            f"SELECT {child} FROM {self._quote(table)} AS c WHERE {child} IS NOT NULL AND NOT EXISTS"
            f" (SELECT 1 FROM {self._quote(parent)} AS p WHERE p.{known} = c.{child}) LIMIT 1"
        ).first()
        if orphan is not None:
            stop_at([Difference(self._name, table, column, f"a value of {parent}.{target}", f"{orphan[0]}, not there")])

    def _held(self, table: str, column: str) -> str:
        """Return the live column that has a column's values: the old one where it is still there."""
        old = RENAMED.get((table, column))
        return self._quote(old if old in self._live[table] else column)
