"""What others may wait for: a full server, a query nobody waits for any more, an upgrade behind a backup."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest
from alembic import command
from sqlalchemy import text

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, UnreachableError
from migratekit_core.common.files import write_private
from migratekit_core.config.schema import Database
from migratekit_core.config.secret import SecretSource
from migratekit_core.db import engine as engines
from migratekit_core.db import migrate
from migratekit_core.db.engine import Databases, answers, open_databases, session
from migratekit_core.joblog import Tracker
from tests.coded import raises
from tests.integration.database_server import Server, running

ROOM = 10
"""The least that MariaDB allows."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for this file."""
    with running(tmp_path_factory.mktemp("limits")) as started:
        yield started


@contextmanager
def opened(server: Server) -> Iterator[Databases]:
    """The databases, and no connection of theirs when the block has ended: it would be one of the room."""
    found = server.open()
    try:
        yield found
    finally:
        found.dispose()


@contextmanager
def connected(server: Server) -> Iterator[Any]:
    """A connection as another program would have it."""
    found = pymysql.connect(
        host="127.0.0.1", port=server.port, user="migratekit", password=server.password, database="migratekit_oma",
        autocommit=False,
    )  # fmt: skip
    with found, found.cursor() as cursor:
        yield cursor


@contextmanager
def full(server: Server) -> Iterator[list[Any]]:
    """Have the server take no more connections; yield those that hold it."""
    root = pymysql.connect(unix_socket=str(server.sockets / "db.sock"), user="root")
    with root, root.cursor() as cursor:
        cursor.execute("SET GLOBAL max_connections = %s", (ROOM,))
        held: list[Any] = []
        try:
            with pytest.raises(pymysql.err.OperationalError, match="Too many"):
                while True:
                    one = connected(server)
                    one.__enter__()
                    held.append(one)
            yield held
        finally:
            for one in held:
                one.__exit__(None, None, None)
            cursor.execute("SET GLOBAL max_connections = 300")


def test_a_command_that_starts_while_the_server_is_full_tries_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = threading.Event()
    connect = pymysql.connect

    def counted(*arguments: Any, **options: Any) -> Any:
        try:
            return connect(*arguments, **options)
        except pymysql.err.OperationalError:
            refusals.set()
            raise

    monkeypatch.setattr(pymysql, "connect", counted)
    with full(server) as held:
        leaving = threading.Thread(target=lambda: refusals.wait(60) and held.pop().__exit__(None, None, None))
        refusals.clear()
        leaving.start()
        with opened(server) as databases, databases.oma.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        leaving.join()
    assert refusals.is_set(), "it was refused at first"


def test_a_server_that_stays_full_is_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "CROWDED_SECONDS", 1)
    with full(server), opened(server) as databases, raises(UnreachableError, ErrorCode.DATABASE_BUSY):
        with session(databases.oma) as db:
            db.connection()


def test_a_database_that_refuses_the_login_does_not_answer(server: Server) -> None:
    """A snapshot is removed first then, as where nothing answers: nothing can be written down either way."""
    secret = server.run / "wrong"
    write_private(secret, "not-the-password")
    found = open_databases(Database(kind="mariadb", port=server.port, password=SecretSource(file=secret)))
    assert not answers(found.oma)
    with opened(server) as databases:
        assert answers(databases.oma)


def test_a_query_that_takes_too_long_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "STATEMENT_SECONDS", 1)
    endless = "SELECT COUNT(*) FROM information_schema.columns a, information_schema.columns b, seq_1_to_1000000000 c"
    with opened(server) as databases, raises(OperationFailedError, ErrorCode.DATABASE_SLOW):
        with session(databases.oma) as db:
            db.connection().exec_driver_sql(endless)
    with connected(server) as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%seq_1_to_1000000000 c'")
        assert cursor.fetchone() == (0,)


def test_an_upgrade_behind_a_backup_lets_others_write(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    databases = server.open()
    with databases.oma.connect() as connection:
        command.downgrade(migrate._config("oma", connection=connection), "0020_error_codes")
        connection.commit()
    monkeypatch.setattr(migrate, "GIVE_WAY_SECONDS", 1)
    monkeypatch.setattr(migrate, "PATIENCE_SECONDS", 8)
    writing, ended = threading.Event(), threading.Event()
    written: list[int] = []

    def write() -> None:
        tracker = Tracker(server.open().oma)
        while not ended.is_set():
            with tracker.job("replication", owner="vm"):
                written.append(1)
            writing.set()

    with connected(server) as backup:
        # As mysqldump --single-transaction does: no row is locked, but the table must not change.
        backup.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        backup.execute("SELECT COUNT(*) FROM joblog_jobs")
        writer = threading.Thread(target=write)
        writer.start()
        writing.wait(60)
        try:
            before = len(written)
            with raises(UnreachableError, ErrorCode.DATABASE_BUSY):
                migrate.upgrade(databases.oma, "oma")
            assert len(written) > before, "it was waited for between the attempts only"
        finally:
            ended.set()
            writer.join()
    assert migrate.upgrade(databases.oma, "oma")[1] == migrate._head("oma")
