"""Rows that copy from a unix socket to TCP on this machine: random, sparse, thin, incremental."""

from __future__ import annotations

import random
import time
from pathlib import Path

import nbd

from migratekit_core.engine.job import Job
from tests.bench.measure import GIB, Row, engine, in_turn, nbdcopy, server
from tests.lab.parts.process import choose_port

KIB, MIB = 1024, 1024 * 1024


def full_random(folder: Path) -> Row:
    """2 GiB of random data."""
    size = 2 * GIB
    source, target, port = folder / "random.img", f"nbd://127.0.0.1:{(port := choose_port(None))}", port
    _random_file(source, size)
    socket = folder / "random.sock"
    uri = f"nbd+unix:///?socket={socket}"
    with (
        server("nbdkit", "-f", "-r", "-U", str(socket), "file", str(source), socket=socket),
        server("nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "memory", str(size), port=port),
    ):
        job = Job("random", uri, target, size, full=True)
        ours, theirs = in_turn(lambda: engine(job, [(0, size)])[0], lambda: nbdcopy(uri, target))
    return Row("full_random", "2 GiB random, unix socket to TCP", "nbdcopy", ours, theirs, size, ">= 1.0, aim 1.2")


def full_sparse(folder: Path) -> Row:
    """20 GiB of which 10 % is data in scattered runs."""
    size = 20 * GIB
    source, socket, port = folder / "sparse.img", folder / "sparse.sock", choose_port(None)
    _scattered(source, size, size // 10, MIB)
    uri, target = f"nbd+unix:///?socket={socket}", f"nbd://127.0.0.1:{port}"
    with (
        server("nbdkit", "-f", "-r", "-U", str(socket), "file", str(source), socket=socket),
        server("nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "memory", str(size), port=port),
    ):
        job = Job("sparse", uri, target, size, full=True)
        ours, theirs = in_turn(
            lambda: engine(job, [(0, size)])[0], lambda: nbdcopy("--destination-is-zero", uri, target)
        )
    return Row("full_sparse", "20 GiB, 10 % data", "nbdcopy --destination-is-zero", ours, theirs, size // 10, ">= 1.0")


def full_cbt_thin(folder: Path) -> Row:
    """A thin disk behind a source without block status, where change tracking says what is allocated."""
    size = 8 * GIB
    source, socket, port = folder / "thin.img", folder / "thin.sock", choose_port(None)
    areas = _scattered(source, size, size // 10, MIB)
    allocated = sum(length for _, length in areas)
    uri, target = f"nbd+unix:///?socket={socket}", f"nbd://127.0.0.1:{port}"
    read: list[int] = []

    def ours_once() -> float:
        seconds, done = engine(job, areas)
        read.append(done.read)
        return seconds

    with (
        server("nbdkit", "-f", "-r", "-U", str(socket), "--filter=noextents", "file", str(source), socket=socket),
        server("nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "memory", str(size), port=port),
    ):
        job = Job("thin", uri, target, size, full=True)
        ours, theirs = in_turn(ours_once, lambda: nbdcopy(uri, target))
    more = {"bytes_read_of_allocated": round(max(read) / allocated, 4)}
    return Row(
        "full_cbt_thin", "8 GiB thin, 10 % allocated, no block status", "nbdcopy reading all", ours, theirs, allocated,
        "reads <= 1.02 x allocated", more,
    )  # fmt: skip


def incremental(folder: Path) -> Row:
    """2 % of 20 GiB changed in scattered 64 KiB blocks."""
    size = 20 * GIB
    source, socket, port = folder / "changed.img", folder / "changed.sock", choose_port(None)
    areas = _scattered(source, size, size // 50, 64 * KIB)
    changed = sum(length for _, length in areas)
    uri, target = f"nbd+unix:///?socket={socket}", f"nbd://127.0.0.1:{port}"
    with (
        server("nbdkit", "-f", "-r", "-U", str(socket), "file", str(source), socket=socket),
        server("nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), "memory", str(size), port=port),
    ):
        job = Job("changed", uri, target, size, full=False)
        ours, theirs = in_turn(lambda: engine(job, areas)[0], lambda: _one_after_the_other(uri, target, areas))
    return Row(
        "incremental",
        "2 % of 20 GiB in 64 KiB blocks",
        "one connection, read then write",
        ours,
        theirs,
        changed,
        ">= 5",
    )


def _one_after_the_other(source: str, target: str, areas: list[tuple[int, int]]) -> float:
    """What tools without asynchronous I/O do: read an area, write it, take the next one."""
    began = time.monotonic()
    reader, writer = nbd.NBD(), nbd.NBD()
    reader.connect_uri(source)
    writer.connect_uri(target)
    for offset, length in areas:
        writer.pwrite(reader.pread(length, offset), offset)
    writer.flush()
    reader.shutdown()
    writer.shutdown()
    return time.monotonic() - began


def _random_file(path: Path, size: int) -> None:
    rng = random.Random(1)
    with path.open("wb") as file:
        for _ in range(size // (64 * MIB)):
            file.write(rng.randbytes(64 * MIB))


def _scattered(path: Path, size: int, data: int, run: int) -> list[tuple[int, int]]:
    """Write a sparse file with `data` bytes in runs of `run` at random places; return where they are."""
    rng = random.Random(2)
    places = sorted(rng.sample(range(size // run), data // run))
    block = rng.randbytes(run)
    with path.open("wb") as file:
        file.truncate(size)
        for place in places:
            file.seek(place * run)
            file.write(block)
    return [(place * run, run) for place in places]
