"""A MariaDB server of a test's own, which can be ended and started again."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from migratekit_core.common.files import write_private
from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db.engine import Databases, open_databases
from migratekit_core.db.migrate import upgrade_both
from tests.lab.lab import LAB
from tests.lab.parts import mariadb, process


class Server:
    """A MariaDB server of this test's own."""

    def __init__(self, run: Path, sockets: Path) -> None:
        self.run, self.sockets = run, sockets
        self.port = process.choose_port(None)
        self.password = secrets.token_urlsafe(12)
        self.secret = run / "password"
        write_private(self.secret, self.password)
        self.start(fresh=True)

    def start(self, fresh: bool = False) -> None:
        """Start it, or start it again on what it had."""
        self.part = mariadb.start(
            self.run, LAB / "cache", self.port, self.password, self.sockets / "db.sock", fresh=fresh
        )

    def end(self, number: int) -> None:
        """End it with a signal."""
        self.part.process.send_signal(number)
        self.part.process.wait(60)

    def open(self) -> Databases:
        """Open its databases."""
        return open_databases(Database(kind="mariadb", port=self.port, password=SecretSource(file=self.secret)))


@contextmanager
def running(run: Path) -> Iterator[Server]:
    """Yield a server with empty, upgraded databases."""
    with tempfile.TemporaryDirectory(prefix="mk-db-") as sockets:
        made = Server(run, Path(sockets))
        try:
            upgrade_both(made.open())
            yield made
        finally:
            process.end_all(run)
