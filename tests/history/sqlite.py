"""What the commands cost on SQLite: instructions of its virtual machine, for it counts no rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

EVERY = 100
"""Instructions between two counts."""


class Counted:
    """How many instructions were run."""

    instructions = 0


@contextmanager
def counted() -> Iterator[Counted]:
    """Count what connections that are opened within the block run."""
    found = Counted()

    def count() -> int:
        found.instructions += EVERY
        return 0

    def connected(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(count, EVERY)

    event.listen(Engine, "connect", connected)
    try:
        yield found
    finally:
        event.remove(Engine, "connect", connected)
