"""Row `memory`: the most that an engine ever has in memory, on a disk of 4 TiB with a million changed areas."""

from __future__ import annotations

import random
import re
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from migratekit_core.engine.job import Done, Failure, Job, decode, write_job
from migratekit_core.engine.process import command
from tests.bench.measure import Row, server

KIB, MIB, TIB = 1024, 1024**2, 1024**4
AREAS = 1_000_000
LIMIT = 256 * MIB


def memory(folder: Path) -> Row:
    """4 TiB, a million areas of 4 to 64 KiB: most of them small, as a database's writes are."""
    peak, done = measure(folder, 4 * TIB, AREAS)
    mib = round(peak / MIB, 1)
    return Row(
        "memory",
        f"4 TiB, {AREAS} changed areas, {done.read / 1024**3:.1f} GiB",
        "256 MiB",
        [done.seconds],
        [done.seconds],
        done.read,
        f"peak under 256 MiB: {mib} MiB",
        # How far below the limit, not how fast.
        {"ratio": round(LIMIT / peak, 3), "peak_mib": mib},
    )


def measure(folder: Path, size: int, count: int, window: int | None = None) -> tuple[int, Done]:
    """Copy `count` areas scattered over `size` bytes, with `window` bytes in flight or as many as the engine finds
    right; return the engine's largest resident size, and what it did."""
    source, target = folder / f"source-{count}.sock", folder / f"target-{count}.sock"
    with (
        server("nbdkit", "-f", "-r", "-U", str(source), "pattern", str(size), socket=source),
        server("nbdkit", "-f", "-U", str(target), "null", str(size), socket=target),
    ):
        uris = (f"nbd+unix:///?socket={name}" for name in (source, target))
        job = Job("memory", *uris, size, full=False, connections=window and 2, window=window)
        arguments, environment = command()
        # Not by way of `copy`: the process has to be known, and ru_maxrss of a child counts its parent's memory, too.
        with subprocess.Popen(
            arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as engine:
            assert engine.stdin is not None and engine.stdout is not None, "both are pipes"
            write_job(engine.stdin, job, _areas(size, count))
            with ThreadPoolExecutor(1) as pool:
                # Not at each progress: a small copy may have none, and one that has ended has no memory any more.
                watching = pool.submit(_watch, engine)
                for line in engine.stdout:
                    event = decode(line)
                    if isinstance(event, Failure):
                        raise RuntimeError(f"{event.what}: {event.why}")
                    if isinstance(event, Done):
                        engine.wait(60)
                        return watching.result(), event
                engine.wait(60)
    raise RuntimeError("the engine ended without a word")


def _areas(size: int, count: int) -> Iterator[tuple[int, int]]:
    rng = random.Random(6)
    step = size // count // (64 * KIB) * 64 * KIB
    for number in range(count):
        yield number * step, rng.choices((4, 8, 16, 64), (70, 20, 8, 2))[0] * KIB


def _watch(engine: subprocess.Popen[str]) -> int:
    """Return the largest that `engine` was: the kernel's own high-water mark, read until it has ended."""
    status = Path(f"/proc/{engine.pid}/status")
    peak = 0
    while engine.poll() is None:
        # One that has just ended has no memory any more, or no entry.
        with suppress(FileNotFoundError, ProcessLookupError):
            found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
            peak = max(peak, int(found[1]) * KIB if found else 0)
        time.sleep(0.005)
    return peak
