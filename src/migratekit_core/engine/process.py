"""Starts an engine and listens to it. The engine never outlives the block, and its last words are our error."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO

from migratekit_core.common.errors import INTERRUPTED_EXIT_CODE, OperationFailedError, PreconditionError, from_fields
from migratekit_core.common.redact import child_environment, redact
from migratekit_core.engine import scheduling
from migratekit_core.engine.job import Done, Event, Failure, Job, decode, write_job

STOP_SECONDS = 10
"""What a stopped engine may take for its last flush before it is killed."""


def command() -> tuple[list[str], dict[str, str]]:
    """Return the command that starts an engine, and its environment.

    Without Python's site module: reading every .pth file of every package takes longer than all else at the start, and
    the engine needs three folders only: the standard library, ours, and that of libnbd's binding.
    """
    binding = importlib.util.find_spec("nbd")
    if binding is None or binding.origin is None:
        raise PreconditionError(
            "libnbd's Python binding is not installed", "no module nbd", "run: apt-get install python3-libnbd"
        )
    folders = (Path(__file__).parents[2], Path(binding.origin).parent)
    environment = child_environment({"PYTHONPATH": os.pathsep.join(map(str, folders))})
    return [sys.executable, "-P", "-s", "-S", "-m", "migratekit_core.engine"], environment


class Engines:
    """The engines of one run, so that they can be stopped together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[subprocess.Popen[str]] = []
        self._stopped = False

    def add(self, engine: subprocess.Popen[str]) -> None:
        """Count an engine as running; one that comes after the stop is stopped at once."""
        with self._lock:
            self._running.append(engine)
            if self._stopped:
                engine.send_signal(signal.SIGTERM)

    def remove(self, engine: subprocess.Popen[str]) -> None:
        """Count an engine as ended."""
        with self._lock:
            self._running.remove(engine)

    def stopped(self) -> bool:
        """Return whether the run was asked to end."""
        return self._stopped

    def stop(self) -> None:
        """Ask all engines to write a checkpoint and end."""
        with self._lock:
            self._stopped = True
            for engine in self._running:
                engine.send_signal(signal.SIGTERM)


def copy(
    job: Job,
    areas: Iterable[tuple[int, int]],
    observe: Callable[[Event], None],
    engines: Engines,
    listens: Callable[[Callable[[dict[str, int | None]], None]], None] = lambda send: None,
) -> Done:
    """Copy one disk in an engine of its own; `observe` is told of every event as it comes, and `listens` how to send
    commands as soon as the engine takes them.

    Raises the engine's error as the class it was, and KeyboardInterrupt where the engine was asked to stop.
    """
    arguments, environment = command()
    with tempfile.TemporaryFile("w+") as stderr:
        engine = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Ctrl-C reaches us; we stop the engine, which then still has its source and its target.
            start_new_session=True,
        )
        engines.add(engine)
        assert engine.stdin is not None and engine.stdout is not None, "both are pipes"
        try:
            scheduling.favour_throughput(engine.pid)
            last = _talk(engine.stdin, engine.stdout, job, areas, observe, listens)
            code = engine.wait()
        finally:
            _stop(engine)
            engines.remove(engine)
        if isinstance(last, Done):
            return last
        # One that had hardly started dies of the signal itself.
        if code in (INTERRUPTED_EXIT_CODE, -signal.SIGTERM):
            raise KeyboardInterrupt
        if isinstance(last, Failure):
            raise from_fields(last.error)
        stderr.seek(0)
        words = stderr.read().strip().splitlines()
        raise OperationFailedError(
            f"the copy engine of {job.disk} died",
            redact(words[-1]) if words else f"exit code {code}",
            "run the command again: it goes on from the last checkpoint",
        )


def _talk(
    stdin: IO[str],
    stdout: IO[str],
    job: Job,
    areas: Iterable[tuple[int, int]],
    observe: Callable[[Event], None],
    listens: Callable[[Callable[[dict[str, int | None]], None]], None],
) -> Event | None:
    def send(command: dict[str, int | None]) -> None:
        # One that has ended needs no command any more (ValueError: its pipe is closed).
        with contextlib.suppress(BrokenPipeError, ValueError):
            stdin.write(json.dumps(command) + "\n")
            stdin.flush()

    last: Event | None = None
    # An engine that died at once says why itself, or its exit code does.
    with contextlib.suppress(BrokenPipeError):
        write_job(stdin, job, areas)
    listens(send)
    for line in stdout:
        last = decode(line)
        observe(last)
    return last


def _stop(engine: subprocess.Popen[str]) -> None:
    if engine.poll() is not None:
        return
    engine.send_signal(signal.SIGTERM)
    try:
        engine.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        engine.kill()
        engine.wait()
