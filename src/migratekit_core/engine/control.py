"""The engine's standard input: the job, its areas, and then commands for as long as the parent lives.

A line is a JSON value: an object with the job first; arrays of areas; `null` after the last of them; then objects that
change something (`{"rate": bytes per second or null}`). The end of the file means that the parent is gone.
"""

from __future__ import annotations

import json
import os
import select
from collections.abc import Iterator
from typing import Any

from migratekit_core.engine.job import Job, read_job

CHUNK = 64 * 1024


class Control:
    """Lines on a file descriptor, read without waiting once the areas are in."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._partial = b""
        self._lines: list[bytes] = []
        self.gone = False
        """Whether the parent has closed its end: it is dead, for it keeps it open as long as it listens."""

    def job(self) -> tuple[Job, Iterator[tuple[int, int]]]:
        """Return the job and an iterator over its areas, which are read as they are used."""
        return read_job(self._line()), self._areas()

    def commands(self) -> Iterator[dict[str, Any]]:
        """Yield the commands that have come since the last look."""
        while not self.gone and select.select([self._descriptor], [], [], 0)[0]:
            self._read()
        for line in self._lines:
            yield json.loads(line)
        self._lines = []

    def _areas(self) -> Iterator[tuple[int, int]]:
        while (found := json.loads(self._line())) is not None:
            yield from map(tuple, found)

    def _line(self) -> bytes:
        while not self._lines:
            if self.gone:
                raise EOFError("the job ended early")
            self._read()
        return self._lines.pop(0)

    def _read(self) -> None:
        data = os.read(self._descriptor, CHUNK)
        self.gone = not data
        *whole, self._partial = (self._partial + data).split(b"\n")
        self._lines += [line for line in whole if line]
