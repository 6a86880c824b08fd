"""Processes of the lab: started with a log, waited for, written down, and ended by the id they were started with."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from migratekit_core.joblog.process import started

START_SECONDS = 60.0
STOP_SECONDS = 15.0


Side = Callable[[], AbstractContextManager[None]]
"""A host of the lab: a block in which sockets are made there."""


class There(httpx.BaseTransport):
    """An HTTP client's transport whose connections are made on a host of the lab."""

    def __init__(self, side: Side, inner: httpx.HTTPTransport) -> None:
        self._side = side
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request from there."""
        with self._side():
            return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


class LabError(Exception):
    """A part of the lab does not work."""


@dataclass(frozen=True)
class Part:
    """A running part of the lab."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End it, kindly first."""
        end(self.process.pid, self.process)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait()


def launch(
    name: str, command: Sequence[str], run: Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Part:
    """Start a part in a session of its own, with its output in `run/NAME.log`, and write its pid down."""
    log = run / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            start_new_session=True,
        )
    remember(run, name, process.pid)
    return Part(name, process, log)


def remember(run: Path, name: str, pid: int) -> None:
    """Write a pid down, with the start of its process, so that a later `lab-down` ends it and nothing else."""
    path = run / "pids.json"
    pids = json.loads(path.read_text()) if path.exists() else {}
    pids[name] = [pid, started(pid)]
    path.write_text(json.dumps(pids))


def end_all(run: Path) -> list[str]:
    """End whatever is written down and still runs; return the names."""
    path = run / "pids.json"
    if not path.exists():
        return []
    ended = []
    for name, (pid, began) in reversed(json.loads(path.read_text()).items()):
        if began and started(pid) == began:
            end(pid)
            ended.append(name)
    path.unlink()
    return ended


def end_by_file(path: Path) -> list[str]:
    """End the process that was written down in a file by its pid and its start; return the file's name where it ran."""
    try:
        pid, _, began = path.read_text().strip().partition(" ")
    except OSError:
        return []
    if not began or started(int(pid)) != began:
        return []
    end(int(pid))
    return [path.stem]


def end(pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
    """End a process: SIGTERM, and SIGKILL after a while."""

    def gone() -> bool:
        return child.poll() is not None if child is not None else not started(pid)

    if gone():
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while not gone():
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += STOP_SECONDS
        time.sleep(0.02)


def wait_until(ready: Callable[[], bool], part: Part, seconds: float = START_SECONDS) -> None:
    """Wait until a part is ready. Raises LabError with its last words where it ends or does not get ready."""
    deadline = time.monotonic() + seconds
    while not ready():
        ended = part.process.poll()
        if ended is not None or time.monotonic() > deadline:
            words = part.log.read_text(errors="replace").strip().splitlines()[-5:]
            state = f"ended with {ended}" if ended is not None else f"is not ready after {seconds:.0f} s"
            raise LabError(f"{part.name} {state}: {' | '.join(words)}")
        time.sleep(0.02)


def first_line(part: Part) -> str:
    """Return the first line that a part printed; "" as long as there is none."""
    text = part.log.read_text(errors="replace")
    line = next((line for line in text.splitlines() if line.startswith("{")), "")
    return line if "\n" in text else ""


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether something listens on a port, of loopback if no other address is named."""
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex((address, port)) == 0


def choose_port(preferred: int | None) -> int:
    """Return the preferred port if it can be listened on, else any free one.

    That lies below the range of which the kernel gives clients theirs: until the server is up, somebody's connection
    could else be given the very port, or another lab that starts now.
    """
    any_port = random.SystemRandom()
    for port in [*([preferred] if preferred else []), *(any_port.randrange(20_000, 32_000) for _ in range(100))]:
        with socket.socket() as server:
            # As the servers themselves do: a port in TIME_WAIT is free.
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise LabError("no free port on loopback")
