"""For how long a process waits for a database that is away: once for each outage, not once for each write."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UnreachableError
from migratekit_core.common.patience import growing
from migratekit_core.common.units import human_seconds

FIRST, MOST = 0.2, 5.0
"""Seconds between two attempts: of the first pause, and of the longest."""


class Outage:
    """The outage of a server that both databases are on; called from any thread.

    `note` is told when it begins and when it is over. When `patience` seconds have passed nobody waits any more: each
    write is tried once, until one succeeds.
    """

    def __init__(self, patience: float, note: Callable[[str], None] | None = None) -> None:
        self._patience = patience
        self._note = note or (lambda message: None)
        self._lock = threading.Lock()
        self._since: float | None = None
        self._told = False

    def pause(self, error: UnreachableError, failures: int) -> float | None:
        """Return how many seconds to wait after `failures` in a row of one write; None: no longer."""
        now = time.monotonic()
        with self._lock:
            self._since = self._since if self._since is not None else now
            left = self._since + self._patience - now
            # One that has no room, or a deadlock, is over in a moment, and no news.
            tell = not self._told and (error.code is ErrorCode.DATABASE_UNREACHABLE or now - self._since > MOST)
            self._told = self._told or tell
        if tell:
            self._note(f"{error.what}: waiting for it, {human_seconds(max(left, 0.0))} at most")
        return min(growing(failures, FIRST, MOST), left) if left > 0 else None

    def over(self) -> None:
        """Take it that the server answers."""
        with self._lock:
            told, self._since, self._told = self._told, None, False
        if told:
            self._note("the database answers again")
