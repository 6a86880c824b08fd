"""The process that hashes a source disk, before real NBD servers: right digests, holes unread, errors with a place."""

from __future__ import annotations

from pathlib import Path

import pytest
from blake3 import blake3

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, OperationFailedError
from migratekit_core.engine.digests.blocks import cut
from migratekit_core.engine.digests.process import hasher
from migratekit_core.engine.process import Engines
from tests.coded import raises
from tests.integration.servers import MIB, SIZE, disk, source

BLOCK = 64 << 10


SMALL = ("blocksize-policy", "blocksize-minimum=1", "blocksize-maximum=32K", "blocksize-error-policy=error")
"""A server that refuses large requests."""


@pytest.mark.parametrize("filters", [(), ("noextents",), SMALL, ("error", "error-pread-rate=10%", "error-pread=EIO")])
def test_digests_are_those_of_the_disk(tmp_path: Path, filters: tuple[str, ...]) -> None:
    content = disk(tmp_path / "source.img")
    ranges = [(0, 5 * MIB + 512), (7 * MIB, SIZE - 7 * MIB)]
    with source(tmp_path, *filters) as uri, hasher("a disk", uri, SIZE, 256 << 10, Engines()) as hashing:
        digests, read = hashing.digests(ranges, BLOCK, [(0, SIZE)], lambda done: None)
        again, none = hashing.digests([(0, MIB)], BLOCK, [], lambda done: None)
    wanted = [blake3(content[offset : offset + length]).digest() for offset, length in cut(ranges, BLOCK)]
    assert digests == wanted
    total = sum(length for _, length in ranges)
    # Without block status everything is read that may be data; with it the holes are not.
    assert (read == total) if "noextents" in filters else (0 < read < total)
    assert (again, none) == ([blake3(bytes(BLOCK)).digest()] * 16, 0)


def test_what_cannot_be_read_is_an_error_with_its_place(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    with source(tmp_path, "noextents", "error", "error-pread-rate=100%") as uri:
        with hasher("a disk", uri, SIZE, MIB, Engines()) as hashing:
            with raises(OperationFailedError, ErrorCode.DISK_READ_FAILED):
                hashing.digests([(3 * MIB, MIB)], MIB, [(0, SIZE)], lambda done: None)


def test_a_server_that_is_not_there_or_too_small_is_told(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    with hasher("a disk", f"nbd+unix:///?socket={tmp_path}/none", SIZE, MIB, Engines()) as hashing:
        with pytest.raises(MigrateKitError) as caught:
            hashing.digests([(0, MIB)], MIB, [(0, MIB)], lambda done: None)
    assert caught.value.exit_code == 6
    with source(tmp_path) as uri, hasher("a disk", uri, SIZE + 512, MIB, Engines()) as hashing:
        with raises(OperationFailedError, ErrorCode.SIZE_MISMATCH):
            hashing.digests([(0, MIB)], MIB, [(0, MIB)], lambda done: None)


def test_a_stop_ends_it(tmp_path: Path) -> None:
    disk(tmp_path / "source.img")
    engines = Engines()
    with source(tmp_path, "noextents", "delay", "rdelay=30") as uri:
        with hasher("a disk", uri, SIZE, MIB, engines) as hashing:
            engines.stop()
            with pytest.raises(KeyboardInterrupt):
                hashing.digests([(0, MIB)], MIB, [(0, MIB)], lambda done: None)
            assert hashing.ended()
