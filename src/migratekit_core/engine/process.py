"""Starts an engine and listens to it. The engine never outlives the block, and its last words are our error."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import IO

from migratekit_core.engine.job import Done, Event, Failure, Job, decode, write_job
from migratekit_core.errors import INTERRUPTED_EXIT_CODE, OperationFailedError, from_fields
from migratekit_core.redact import redact

STOP_SECONDS = 10
"""What a stopped engine may take for its last flush before it is killed."""


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

    def stop(self) -> None:
        """Ask all engines to write a checkpoint and end."""
        with self._lock:
            self._stopped = True
            for engine in self._running:
                engine.send_signal(signal.SIGTERM)


def copy(job: Job, areas: Iterable[tuple[int, int]], observe: Callable[[Event], None], engines: Engines) -> Done:
    """Copy one disk in an engine of its own; `observe` is told of every event as it comes.

    Raises the engine's error as the class it was, and KeyboardInterrupt where the engine was asked to stop.
    """
    with tempfile.TemporaryFile("w+") as stderr:
        engine = subprocess.Popen(
            [sys.executable, "-m", "migratekit_core.engine"],
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
            last = _talk(engine.stdin, engine.stdout, job, areas, observe)
            code = engine.wait()
        finally:
            _stop(engine)
            engines.remove(engine)
        if isinstance(last, Done):
            return last
        if code == INTERRUPTED_EXIT_CODE:
            raise KeyboardInterrupt
        if isinstance(last, Failure):
            raise from_fields(last.what, last.why, last.todo, last.exit_code)
        stderr.seek(0)
        words = stderr.read().strip().splitlines()
        raise OperationFailedError(
            f"the copy engine of {job.disk} died",
            redact(words[-1]) if words else f"exit code {code}",
            "run the command again: it goes on from the last checkpoint",
        )


def _talk(
    stdin: IO[str], stdout: IO[str], job: Job, areas: Iterable[tuple[int, int]], observe: Callable[[Event], None]
) -> Event | None:
    last: Event | None = None
    # An engine that died at once says why itself, or its exit code does.
    with contextlib.suppress(BrokenPipeError):
        write_job(stdin, job, areas)
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
