"""The places where a crash has to be survivable, by name: between two steps, and around each call to another system.

`Points.reach` does nothing unless the environment names a folder. Then it writes the name to the folder's file
`reached`, and a run whose place stands in the file `stop` waits there until it does not any more. That is how the crash
tests find out which places there are, and kill the process at each of them: a new step or call is a new place without
anybody listing it.

The volume daemon has its own folder (volumes.daemon.points); `reach` and `call` are for a command's process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

VARIABLE = "MIGRATEKIT_POINTS"
POLL_SECONDS = 0.02

_step: ContextVar[str] = ContextVar("step", default="")


class Points:
    """Told of every place that is passed."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._writing = threading.Lock()

    def reach(self, name: str) -> None:
        """Pass a place: `attach/attach-volume/running`."""
        if self._folder is None:
            return
        with self._writing, (self._folder / "reached").open("a") as file:
            file.write(f"{name}\n")
        while name in self._stops():
            time.sleep(POLL_SECONDS)

    def _stops(self) -> list[str]:
        assert self._folder is not None, "reach has looked"
        try:
            return (self._folder / "stop").read_text().splitlines()
        except FileNotFoundError:
            return []


def from_environment(variable: str) -> Points:
    """Return the places as the environment wants them; nothing happens there as a rule."""
    folder = os.environ.get(variable)
    return Points(Path(folder) if folder else None)


@cache
def _process() -> Points:
    return from_environment(VARIABLE)


def reach(name: str) -> None:
    """Pass a place of this command."""
    _process().reach(name)


@contextmanager
def inside(step: str) -> Iterator[None]:
    """Have the calls within the block count as those of a step: `failover/deploy`."""
    token = _step.set(step)
    try:
        yield
    finally:
        _step.reset(token)


def during(what: str) -> None:
    """Pass a place within a call: the other system works on it, and nobody waits for the answer yet."""
    if step := _step.get():
        reach(f"{step}/{what}/submitted")


@contextmanager
def call(what: str) -> Iterator[None]:
    """The block calls another system: a place before it, and one when it has answered and nobody has noted it yet.

    Calls outside a step have no places: they change nothing.
    """
    step = _step.get()
    if step:
        reach(f"{step}/{what}/asking")
    yield
    if step:
        reach(f"{step}/{what}/answered")
