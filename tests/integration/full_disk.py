"""A lab's MariaDB whose disk is full: each change of each row is refused as InnoDB refuses it then.

On a disk that is really full (tried with a small tmpfs) that is what it comes to, once the undo log finds no room any
more; until then some changes still find a gap, and which is nobody's choice. So triggers refuse them all, in the
server's own words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.integration.support import sql
from tests.lab.lab import Lab
from tests.lab.parts import mariadb


@contextmanager
def full(lab: Lab) -> Iterator[None]:
    """Have MariaDB refuse every change for want of space within the block."""
    made = []
    try:
        for database in mariadb.DATABASES:
            for row in sql(lab, "SHOW TABLES", database=database):
                [table] = row.values()
                for change in ("INSERT", "UPDATE", "DELETE"):
                    name = f"full_{change}_{table}"
                    refusal = f"SET MYSQL_ERRNO = 1114, MESSAGE_TEXT = 'The table ''{table}'' is full'"
                    sql(
                        lab,
                        f"CREATE TRIGGER {name} BEFORE {change} ON {table} FOR EACH ROW"
                        f" SIGNAL SQLSTATE 'HY000' {refusal}",
                        database=database,
                    )
                    made.append((database, name))
        yield
    finally:
        for database, name in made:
            sql(lab, f"DROP TRIGGER {name}", database=database)
