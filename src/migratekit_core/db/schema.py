"""Compares a live database with the models. A command that would write stops at the first difference."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Engine, Integer, MetaData, inspect
from sqlalchemy.exc import DBAPIError

from migratekit_core.db.engine import Databases, database_error
from migratekit_core.errors import SchemaMismatchError
from migratekit_core.models import joblog, oma, volumes  # noqa: F401  (importing registers their tables)
from migratekit_core.models.base import oma_metadata, volumes_metadata

METADATA: dict[str, MetaData] = {"oma": oma_metadata, "volumes": volumes_metadata}


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


def compare(engine: Engine, name: str) -> list[Difference]:
    """Return how the tables of `engine` differ from the models of database `name` ("oma" or "volumes").

    Columns that only the database has are named where one of ours is missing, and ignored otherwise: a site may add its
    own.
    """
    try:
        inspector = inspect(engine)
        tables = set(inspector.get_table_names())
        differences: list[Difference] = []
        for table in METADATA[name].sorted_tables:
            if table.name not in tables:
                differences.append(Difference(name, table.name, "", "table", "nothing"))
                continue
            live = {column["name"]: column for column in inspector.get_columns(table.name)}
            extra = sorted(set(live) - {column.name for column in table.columns})
            for column in table.columns:
                if column.name not in live:
                    found = f"no such column (has: {', '.join(extra)})" if extra else "no such column"
                    differences.append(Difference(name, table.name, column.name, "column", found))
                    continue
                # Whole numbers too small for bytes or ids are the type error that loses data without a word.
                wide = isinstance(column.type, BigInteger) and engine.dialect.name != "sqlite"
                kind = live[column.name]["type"]
                if wide and isinstance(kind, Integer) and not isinstance(kind, BigInteger):
                    differences.append(Difference(name, table.name, column.name, "BIGINT", str(kind)))
        return differences
    except DBAPIError as error:
        raise database_error(error, engine) from error


def require_schema(databases: Databases, names: tuple[str, ...] = ("oma",)) -> None:
    """Raise SchemaMismatchError unless each named database has the tables and columns that this version writes."""
    for name in names:
        differences = compare(getattr(databases, name), name)
        if differences:
            more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
            raise SchemaMismatchError(
                "the database schema is not the one this version writes",
                f"{differences[0]}{more}",
                "look with: migratekit db check; bring it up to date with: migratekit db upgrade",
            )


def check_both(databases: Databases) -> list[Difference]:
    """Return how both databases differ from the models."""
    return [*compare(databases.oma, "oma"), *compare(databases.volumes, "volumes")]
