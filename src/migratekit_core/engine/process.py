"""Starts an engine and listens to it. The engine never outlives the block, and its last words are our error."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from migratekit_core.common import childprocess
from migratekit_core.common.childprocess import Child
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import INTERRUPTED_EXIT_CODE, OperationFailedError, PreconditionError, from_fields
from migratekit_core.common.redact import child_environment
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
            "libnbd's Python binding is not installed",
            "no module nbd",
            "run: apt-get install python3-libnbd",
            code=ErrorCode.NOT_INSTALLED,
            facts={"library": "nbd"},
        )
    folders = (Path(__file__).parents[2], Path(binding.origin).parent)
    environment = child_environment({"PYTHONPATH": os.pathsep.join(map(str, folders))})
    return [sys.executable, "-P", "-s", "-S", "-m", "migratekit_core.engine"], environment


class Engines:
    """The engines of one run, so that they can be stopped together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: list[Child] = []
        self._stopped = False

    def add(self, engine: Child) -> None:
        """Count an engine as running; one that comes after the stop is stopped at once."""
        with self._lock:
            self._running.append(engine)
            if self._stopped:
                engine.ask_to_stop()

    def remove(self, engine: Child) -> None:
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
                engine.ask_to_stop()


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
    engine = childprocess.start(arguments, talks=True, env=environment)
    engines.add(engine)
    try:
        scheduling.favour_throughput(engine.pid)
        last = _talk(engine, job, areas, observe, listens)
        ending = engine.ending()
    finally:
        engine.stop(STOP_SECONDS)
        engines.remove(engine)
    if isinstance(last, Done):
        return last
    # One that had hardly started dies of the signal itself.
    if ending.interrupted or ending.code == INTERRUPTED_EXIT_CODE:
        raise KeyboardInterrupt
    if isinstance(last, Failure):
        raise from_fields(last.error)
    raise OperationFailedError(
        f"the copy engine of {job.disk} died",
        ending.reason,
        "run the command again: it goes on from the last checkpoint",
        code=ErrorCode.PROCESS_DIED,
        facts={"disk": job.disk},
    )


def _talk(
    engine: Child,
    job: Job,
    areas: Iterable[tuple[int, int]],
    observe: Callable[[Event], None],
    listens: Callable[[Callable[[dict[str, int | None]], None]], None],
) -> Event | None:
    last: Event | None = None
    # An engine that died at once says why itself, or its exit code does.
    with contextlib.suppress(BrokenPipeError):
        write_job(engine.stdin, job, areas)
    listens(lambda command: engine.say(json.dumps(command)))
    for line in engine.lines():
        last = decode(line)
        observe(last)
    return last
