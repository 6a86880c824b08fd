"""Runs one machine in a process of its own, which ends with its worker; what kills one machine's kills no other's."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from migratekit_core.common import childprocess
from migratekit_core.common.errors import MigrateKitError, from_fields
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
        module = "migratekit_core.services.fleet.child"
        command = [sys.executable, "-P", "-m", module, *options, "--", work.task, work.machine.name]
        self._process = childprocess.start(command, talks=True)
        self._listener = threading.Thread(target=self._listen, name="machine", daemon=True)
        self._listener.start()
        self._process.say(WORK.dump_json(work).decode())

    @property
    def pid(self) -> int:
        """Return the process."""
        return self._process.pid

    def wait(self, seconds: float) -> bool:
        """Return whether it has ended, within so many seconds."""
        if self._process.wait(seconds) is None:
            return False
        self._listener.join(5)
        return True

    def alive(self, since: float) -> None:
        """Tell it that the claim and the places were still ours at `since` (`time.monotonic`)."""
        self._process.say(f"alive {since}")

    def limit(self, rate: int) -> None:
        """Have it send no more than so many bytes per second."""
        self._process.say(f"rate {rate}")

    def stop(self) -> None:
        """Have it write a checkpoint and end."""
        self._process.ask_to_stop()

    def kill(self) -> None:
        """End it, and whatever it has begun."""
        self._process.kill()
        self._listener.join(5)

    def last_words(self) -> str:
        """Return the last line that it wrote, or how it ended."""
        return self._process.ending().reason

    def _listen(self) -> None:
        for line in self._process.lines():
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
