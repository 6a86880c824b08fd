"""Rows that copy from a unix socket to TCP on this machine: random, sparse, thin, incremental, many disks."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbd

from migratekit_core.engine.job import Job
from tests.bench.images import KIB, MIB, random_image, scattered_image
from tests.bench.measure import GIB, Row, engine, in_turn, nbdcopy, pair


def full_random(folder: Path) -> Row:
    """2 GiB of random data."""
    size = 2 * GIB
    with pair(folder, random_image(folder, size), size) as ends:
        job = Job("random", ends.source, ends.target, size, full=True)
        ours, theirs = in_turn(lambda: engine(job, [(0, size)])[0], lambda: nbdcopy(ends.source, ends.target))
    return Row("full_random", "2 GiB random, unix socket to TCP", "nbdcopy", ours, theirs, size, ">= 1.0, aim 1.2")


def full_sparse(folder: Path) -> Row:
    """20 GiB of which 10 % is data in scattered runs."""
    size = 20 * GIB
    image, _ = scattered_image(folder, size, size // 10, MIB)
    with pair(folder, image, size) as ends:
        job = Job("sparse", ends.source, ends.target, size, full=True)
        ours, theirs = in_turn(
            lambda: engine(job, [(0, size)])[0], lambda: nbdcopy("--destination-is-zero", ends.source, ends.target)
        )
    return Row("full_sparse", "20 GiB, 10 % data", "nbdcopy --destination-is-zero", ours, theirs, size // 10, ">= 1.0")


def full_cbt_thin(folder: Path) -> Row:
    """A thin disk behind a source without block status, where change tracking says what is allocated."""
    size = 8 * GIB
    image, areas = scattered_image(folder, size, size // 10, MIB)
    allocated = sum(length for _, length in areas)
    read: list[int] = []

    def ours_once() -> float:
        seconds, done = engine(job, areas)
        read.append(done.read)
        return seconds

    with pair(folder, image, size, source=["noextents"]) as ends:
        job = Job("thin", ends.source, ends.target, size, full=True)
        ours, theirs = in_turn(ours_once, lambda: nbdcopy(ends.source, ends.target))
    more = {"bytes_read_of_allocated": round(max(read) / allocated, 4)}
    return Row(
        "full_cbt_thin", "8 GiB thin, 10 % allocated, no block status", "nbdcopy reading all", ours, theirs, allocated,
        "reads <= 1.02 x allocated", more,
    )  # fmt: skip


def incremental(folder: Path) -> list[Row]:
    """2 % of 20 GiB changed in scattered 64 KiB blocks: to a target on this machine, and to one that is 1 ms away."""
    size = 20 * GIB
    image, areas = scattered_image(folder, size, size // 50, 64 * KIB)
    changed = sum(length for _, length in areas)
    rows = []
    for name, where, filters, asked in (
        ("incremental", "target 1 ms away", ["delay", "wdelay=1ms"], ">= 5"),
        ("incremental_here", "target on this machine", [], "-"),
    ):
        with pair(folder, image, size, target=filters) as ends:
            job = Job("changed", ends.source, ends.target, size, full=False)
            ours, theirs = in_turn(
                lambda job=job: engine(job, areas)[0],  # type: ignore[misc]
                lambda ends=ends: _one_after_the_other(ends.source, ends.target, areas),  # type: ignore[misc]
            )
        what, peer = f"2 % of 20 GiB in 64 KiB blocks, {where}", "one connection, read then write"
        rows.append(Row(name, what, peer, ours, theirs, changed, asked))
    return rows


def many_disks(folder: Path) -> Row:
    """Eight disks of 256 MiB at once, each with an engine of its own, beside one disk of 2 GiB."""
    disks, size = 8, 2 * GIB
    image = random_image(folder, size)
    with pair(folder, image, size) as ends:
        part = size // disks
        whole = Job("one", ends.source, ends.target, size, full=False)
        parts = [Job(f"disk {n}", ends.source, ends.target, size, full=False) for n in range(disks)]

        def all_at_once() -> float:
            began = time.monotonic()
            with ThreadPoolExecutor(disks) as pool:
                list(pool.map(lambda n: engine(parts[n], [(n * part, part)]), range(disks)))
            return time.monotonic() - began

        ours, theirs = in_turn(all_at_once, lambda: engine(whole, [(0, size)])[0])
    return Row("many_disks", "8 engines at once, 2 GiB in all", "one engine, 2 GiB", ours, theirs, size, "-")


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
