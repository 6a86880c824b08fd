"""What a probe writes to an export and reads back: real NBD servers that lose, refuse, hang and go away."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migratekit_core.adapters.readers.reader import nbd_uri
from migratekit_core.common.errors import OperationFailedError, UnreachableError
from migratekit_core.engine import exchange
from tests.integration.support import eventually

MIB = 1 << 20
PIECES = [(0, b"a" * MIB), (5 * MIB, b"b" * MIB)]
RANGES = [(offset, len(data)) for offset, data in PIECES]


@contextmanager
def serving(folder: Path, *command: str) -> Iterator[str]:
    """Serve something, and yield its URI."""
    socket = folder / "nbd.sock"
    server = subprocess.Popen(["nbdkit", "--foreground", "--unix", str(socket), *command], stderr=subprocess.DEVNULL)
    try:
        eventually("the server listens", socket.exists)
        yield nbd_uri(socket, "")
    finally:
        server.kill()
        server.wait()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    with serving(tmp_path, "memory", "16M") as uri:
        exchange.write(uri, None, PIECES, "it", 30)
        assert exchange.read(uri, RANGES, "it", 30) == [data for _, data in PIECES]


def test_what_was_lost_is_read_as_it_is(tmp_path: Path) -> None:
    with serving(tmp_path, "null", "16M") as uri:
        exchange.write(uri, None, PIECES, "it", 30)
        assert exchange.read(uri, RANGES, "it", 30) == [bytes(MIB)] * 2


@pytest.mark.parametrize("what", ["pread", "pwrite"])
def test_a_server_that_refuses_is_an_error_with_the_place(tmp_path: Path, what: str) -> None:
    with serving(tmp_path, "--filter=error", "memory", "16M", f"error-{what}=EIO", "error-rate=100%") as uri:
        with pytest.raises(OperationFailedError) as caught:
            exchange.write(uri, None, PIECES, "it", 30)
            exchange.read(uri, RANGES, "it", 30)
    assert "at byte 0" in caught.value.what


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    with serving(tmp_path, "--filter=delay", "memory", "16M", "delay-write=60") as uri:
        with pytest.raises(UnreachableError):
            exchange.write(uri, None, PIECES, "it", 1)


def test_nobody_there_and_no_such_export(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError):
        exchange.read(nbd_uri(tmp_path / "none.sock", ""), RANGES, "it", 5)
