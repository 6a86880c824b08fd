"""Runs one machine in a process of its own, which ends with its worker; what kills one machine's kills no other's."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from migratekit_core.common.errors import MigrateKitError, from_fields
from migratekit_core.common.redact import child_environment, redact
from migratekit_core.services.fleet.child import WORK, Work


@dataclass
class News:
    """What a machine's process has said; written by one thread, read by another."""

    done: int = 0
    total: int = 0
    rate: int = 0
    job_id: str | None = None
    limit: int | None = None
    """The rate that it keeps to, as it has confirmed."""
    result: dict[str, Any] | None = None
    error: MigrateKitError | None = None
    notes: list[str] = field(default_factory=list)


class Running(Protocol):
    """A machine that is being worked on."""

    news: News

    def wait(self, seconds: float) -> bool:
        """Return whether it has ended, within so many seconds."""

    def alive(self, since: float) -> None:
        """Tell it that the claim and the places were still ours at `since` (`time.monotonic`)."""

    def limit(self, rate: int) -> None:
        """Have it send no more than so many bytes per second; `news.limit` says when it does."""

    def stop(self) -> None:
        """Have it stop where it can go on later."""

    def kill(self) -> None:
        """End it, and return when it has ended."""

    def last_words(self) -> str:
        """Return what it said, if it ended without a result or an error."""


Launch = Callable[[Work], Running]
"""Begins to work on a machine."""


class MachineProcess:
    """The usual way: `fleet.child`."""

    def __init__(self, work: Work, options: list[str]) -> None:
        """`options`: --config and --profile."""
        self.news = News()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed when it is garbage: read at the end)
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-m",
                "migratekit_core.services.fleet.child",
                *options,
                "--",
                work.task,
                work.machine.name,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=child_environment(),
            # Ctrl-C reaches the worker, which decides.
            process_group=0,
        )
        self._listener = threading.Thread(target=self._listen, name="machine", daemon=True)
        self._listener.start()
        self._say(WORK.dump_json(work).decode())

    @property
    def pid(self) -> int:
        """Return the process."""
        return self._process.pid

    def wait(self, seconds: float) -> bool:
        """Return whether it has ended, within so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._listener.join(5)
        return True

    def alive(self, since: float) -> None:
        """Tell it that the claim and the places were still ours at `since` (`time.monotonic`)."""
        self._say(f"alive {since}")

    def limit(self, rate: int) -> None:
        """Have it send no more than so many bytes per second."""
        self._say(f"rate {rate}")

    def stop(self) -> None:
        """Have it write a checkpoint and end."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and whatever it has begun."""
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join(5)

    def last_words(self) -> str:
        """Return the last line that it wrote, or how it ended."""
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        code = self._process.returncode
        how = f"killed by signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return redact(lines[-1]) if lines and code is not None and code > 0 else how

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None, "it is a pipe"
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None, "it is a pipe"
        for line in self._process.stdout:
            with contextlib.suppress(ValueError):
                hear(self.news, json.loads(line))


def hear(news: News, words: dict[str, Any]) -> None:
    """Take what a machine's process says."""
    if "done" in words:
        news.done, news.total, news.rate = words["done"], words["total"], words["rate"]
    elif "rate" in words:
        news.limit = words["rate"]
    elif "job" in words:
        news.job_id = words["job"]
    elif "note" in words:
        news.notes.append(words["note"])
    elif "result" in words:
        news.result = words["result"]
    elif "error" in words:
        news.error = from_fields(words["error"])
