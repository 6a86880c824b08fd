"""A lab's MariaDB on a small disk of its own, and that disk full."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pymysql

from tests.integration.support import eventually
from tests.lab.lab import LAB, Lab
from tests.lab.parts import mariadb

FREE = 48 << 20
"""Bytes of the disk beside the data that is there: more than a sync needs."""
ROWS = 400
UNDO_LOGS = 128
"""A change takes the next of them; others work meanwhile, so each is full when thrice as many in a row were refused."""
FULL = 1114
"""MariaDB's error number for a table that has no room; it says so of the undo log, too."""


@contextmanager
def small_disk(lab: Lab) -> Iterator[Path]:
    """Have the lab's MariaDB work on a small disk, and go on where it was when the block ends; yield its folder."""
    lab.parts["db"].stop()
    data = lab.run / "mariadb"
    size = sum(file.stat().st_size for file in data.rglob("*") if file.is_file()) + FREE
    socket = lab.sockets / "mariadb.sock"
    password = lab.secrets["database"]
    part = mariadb.start(lab.run, LAB / "cache", lab.ports["db"], password, socket, fresh=False, disk=size)
    lab.parts["db"] = part
    eventually("the server answers", lambda: _answers(lab))
    # Whoever has it open sees the disk also when the server, and its view of what is mounted, is gone.
    disk = os.open(mariadb.inside(part, lab.run), os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{disk}")
    finally:
        part.stop()
        shutil.rmtree(data)
        shutil.copytree(f"/proc/self/fd/{disk}", data)
        os.close(disk)
        lab.restart_database()
        eventually("the server answers", lambda: _answers(lab))


@contextmanager
def full(lab: Lab, disk: Path) -> Iterator[None]:
    """Have MariaDB refuse every change for want of space within the block."""
    with _root(lab) as work, _root(lab) as reader, work.cursor() as cursor, reader.cursor() as reading:
        # MiB: by default 64 at a time, which is more than there is when the disk is not full any more.
        cursor.execute("SET GLOBAL innodb_autoextend_increment = 1")
        cursor.execute("CREATE DATABASE lab")
        cursor.execute("CREATE TABLE lab.filler (id INT PRIMARY KEY, filler VARCHAR(7000) CHARACTER SET ascii)")
        cursor.execute(f"INSERT INTO lab.filler SELECT seq, '' FROM seq_1_to_{ROWS}")
        cursor.execute("CREATE TABLE lab.small (id INT PRIMARY KEY, n INT)")
        cursor.execute("INSERT INTO lab.small VALUES (1, 0)")
        # What has been changed is not forgotten as long as somebody may still read how it was.
        reading.execute("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        reading.execute("SELECT COUNT(*) FROM lab.filler")
        with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 20)):
                pass
        # In smaller and smaller steps: what was begun, and does not fit, leaves room for less.
        for rows, size in ((ROWS, 6000), (1, 6000), (1, 1200), (1, 200), (1, 20), (1, 0)):
            _until_full(cursor, f"UPDATE lab.filler SET filler = CONCAT({{}}, REPEAT('x', {size})) WHERE id <= {rows}")
        # The least that is remembered. What was over before is still being forgotten, and makes room.
        first, calm = 1, 0
        while calm < 3:
            took = _until_full(cursor, f"UPDATE lab.small SET n = {{}} + {first}")
            first, calm = first + took, calm + 1 if not took else 0
            time.sleep(0.3)
        try:
            yield
        finally:
            (disk / "filler").unlink()
            reader.rollback()
            cursor.execute("DROP DATABASE lab")


def _until_full(cursor: Any, statement: str) -> int:
    """Run a statement until there is no room for it; return how many there were, 0 where the first found none."""
    failed = 0
    for number in range(40_000):
        try:
            cursor.execute(statement.format(number))
            failed = 0
        except pymysql.err.OperationalError as error:
            assert error.args[0] == FULL, error
            failed += 1
            if failed == 3 * UNDO_LOGS:
                return number + 1 if number + 1 > failed else 0
    raise AssertionError("the disk is not full")


def _answers(lab: Lab) -> bool:
    with suppress(pymysql.err.OperationalError), _root(lab):
        return True
    return False


@contextmanager
def _root(lab: Lab) -> Iterator[Any]:
    connection = pymysql.connect(
        unix_socket=str(lab.sockets / "mariadb.sock"), user="root", database="mysql", autocommit=True
    )
    with connection:
        yield connection
