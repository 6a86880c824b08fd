"""How a row is measured: two ways of doing the same, in turn, with wall time and CPU of everything involved."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from migratekit_core.engine.job import Done, Job
from migratekit_core.engine.process import Engines, copy
from tests.lab.parts.process import choose_port

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
GIB = 1024**3


@dataclass
class Row:
    """A row of the results; `ratio` above 1 means faster than the peer."""

    name: str
    what: str
    peer: str
    ours: list[float]
    theirs: list[float]
    size: int
    target: str
    """What the issue asks for."""
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Return how many times faster than the peer, by the medians."""
        return statistics.median(self.theirs) / statistics.median(self.ours)

    def as_dict(self) -> dict[str, Any]:
        """Return the row for results.json."""
        return {
            "name": self.name,
            "what": self.what,
            "peer": self.peer,
            "seconds": self.ours,
            "peer_seconds": self.theirs,
            "ratio": round(self.ratio, 3),
            "gib_per_second": round(self.size / GIB / statistics.median(self.ours), 3),
            "target": self.target,
            **self.more,
        }


def in_turn(
    ours: Callable[[], float], theirs: Callable[[], float], runs: int = RUNS
) -> tuple[list[float], list[float]]:
    """Run both once to warm up, then A B A B …; each returns its seconds."""
    ours()
    theirs()
    mine, peers = [], []
    for _ in range(runs):
        mine.append(ours())
        peers.append(theirs())
    return mine, peers


def engine(job: Job, areas: list[tuple[int, int]]) -> tuple[float, Done]:
    """Run the engine as the product does, in a process of its own; return its seconds and what it did."""
    began = time.monotonic()
    done = copy(job, areas, lambda event: None, Engines())
    return time.monotonic() - began, done


def nbdcopy(*arguments: str) -> float:
    """Run nbdcopy; return its seconds."""
    began = time.monotonic()
    subprocess.run(["nbdcopy", *arguments], check=True, timeout=600, capture_output=True)
    return time.monotonic() - began


@contextmanager
def server(*command: str, socket: Path | None = None, port: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run an NBD server until the block ends; it starts when the server answers."""
    import socket as sockets

    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            family = sockets.AF_UNIX if socket else sockets.AF_INET
            with sockets.socket(family) as client:
                if client.connect_ex(str(socket) if socket else ("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"bench: {command[0]} did not start: {' '.join(command)}")
            time.sleep(0.02)
        yield process
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Pair:
    """A source on a unix socket and a target on TCP; URIs, and the processes behind them."""

    source: str
    target: str
    port: int
    source_pid: int
    target_pid: int


@contextmanager
def pair(
    folder: Path, image: Path, size: int, *, source: Sequence[str] = (), target: Sequence[str] = ()
) -> Iterator[Pair]:
    """Serve an image, and `size` bytes of memory to write to; `source` and `target` are nbdkit filters and settings."""
    socket, port = folder / f"{image.stem}.sock", choose_port(None)
    socket.unlink(missing_ok=True)
    read = ["nbdkit", "-f", "-r", "-U", str(socket), *_filters(source), "file", str(image), *_settings(source)]
    write = ["nbdkit", "-f", "-i", "127.0.0.1", "-p", str(port), *_filters(target)]
    with (
        server(*read, socket=socket) as reading,
        server(*write, "memory", str(size), *_settings(target), port=port) as writing,
    ):
        uris = f"nbd+unix:///?socket={socket}", f"nbd://127.0.0.1:{port}"
        yield Pair(*uris, port, reading.pid, writing.pid)


def _filters(items: Sequence[str]) -> list[str]:
    return [f"--filter={item}" for item in items if "=" not in item]


def _settings(items: Sequence[str]) -> list[str]:
    return [item for item in items if "=" in item]


class Cpu:
    """CPU seconds that processes used since the last look: those of `pids`, and those of children that have ended."""

    def __init__(self, pids: Sequence[int]) -> None:
        self._pids = pids
        self._then = self._now()

    def _now(self) -> list[float]:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return [ended.ru_utime + ended.ru_stime, *(cpu_seconds(pid) for pid in self._pids)]

    def used(self) -> list[float]:
        """Return the seconds of the children that have ended since, then of each of the processes."""
        now = self._now()
        spent = [after - before for after, before in zip(now, self._then, strict=True)]
        self._then = now
        return spent


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
