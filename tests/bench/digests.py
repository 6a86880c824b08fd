"""The row about digests: a disk hashed by the product's own process, against reading it with nbdcopy into a hash."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from migratekit_core.engine.digests.blocks import block_size_for
from migratekit_core.engine.digests.process import hasher
from migratekit_core.engine.process import Engines
from tests.bench.measure import GIB, Row, in_turn, server

MIB = 1024 * 1024
FASTEST = ("--no-extents", "--request-size=4194304")
"""With its defaults nbdcopy is several times slower into a pipe than so: a peer that would be too easy."""
B3SUM = """
import sys
from blake3 import blake3
digest, buffer = blake3(max_threads=blake3.AUTO), memoryview(bytearray(4 << 20))
while count := sys.stdin.buffer.readinto(buffer):
    digest.update(buffer[:count])
print(digest.hexdigest())
"""
"""What `b3sum` does with its standard input; Debian 12 has no package of it."""


def verify(folder: Path) -> Row:
    """2 GiB of random data, hashed in blocks as `migratekit verify` hashes a source."""
    size = 2 * GIB
    source, socket = folder / "hashed.img", folder / "hashed.sock"
    rng = random.Random(3)
    with source.open("wb") as file:
        for _ in range(size // (64 * MIB)):
            file.write(rng.randbytes(64 * MIB))
    uri = f"nbd+unix:///?socket={socket}"
    with server("nbdkit", "-f", "-r", "-U", str(socket), "file", str(source), socket=socket):
        ours, theirs = in_turn(lambda: _digests(uri, size), lambda: _piped(uri))
    return Row("verify", "digests of 2 GiB", "nbdcopy (4 MiB requests) piped into BLAKE3", ours, theirs, size, ">= 1.0")


def _digests(uri: str, size: int) -> float:
    began = time.monotonic()
    with hasher("bench", uri, size, MIB, Engines()) as hashing:
        digests, _ = hashing.digests([(0, size)], block_size_for(size), [(0, size)], lambda done: None)
    assert len(digests) == size // MIB
    return time.monotonic() - began


def _piped(uri: str) -> float:
    began = time.monotonic()
    with subprocess.Popen(["nbdcopy", *FASTEST, uri, "-"], stdout=subprocess.PIPE) as reading:
        subprocess.run(
            [sys.executable, "-c", B3SUM], stdin=reading.stdout, check=True, timeout=600, stdout=subprocess.DEVNULL
        )
    assert reading.returncode == 0
    return time.monotonic() - began
