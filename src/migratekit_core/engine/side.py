"""One end of a copy: its connections, more of them when needed, and new ones where they broke."""

from __future__ import annotations

import nbd

from migratekit_core.engine import endpoint
from migratekit_core.engine.endpoint import Abilities, Connection

SOURCE_PATIENCE = 10.0
"""Seconds that the source may be without any connection before the copy ends: its reader is on this host, so one that
is gone stays gone."""
TARGET_PATIENCE = 90.0
"""The same for the target: a tunnel that is cut for a minute only delays the copy."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to connect again; each failure doubles them."""


class Side:
    """One end of a copy."""

    def __init__(self, uri: str, name: str, patience: float) -> None:
        self.uri = uri
        self.name = name
        self._patience = patience
        self.connections: list[Connection] = []
        self._wanted = 0
        self._again = 0.0
        self._pause = FIRST_PAUSE
        self._lost_since: float | None = None

    def connect(self) -> Connection:
        """Begin a connection. Raises nbd.Error where that fails at once."""
        return Connection(self.uri)

    def open(self) -> Abilities:
        """Open the first connection; return what the server can do. Raises UnreachableError."""
        self.connections = [endpoint.open_one(self.connect, self.name)]
        self._wanted = 1
        return endpoint.abilities(self.connections[0])

    def widen(self, count: int) -> None:
        """Want `count` connections; they are opened while the copy goes on (`mend`)."""
        self._wanted = max(self._wanted, count)

    def pick(self) -> Connection | None:
        """Return the usable connection with the least on its way; None where there is none now."""
        best: Connection | None = None
        for connection in self.connections:
            if (best is None or connection.in_flight < best.in_flight) and connection.usable():
                best = connection
        return best

    def lost(self) -> bool:
        """Return whether a connection has broken."""
        return any(held.broken() for held in self.connections)

    def mend(self, now: float) -> None:
        """Drop connections that broke, and open as many as are wanted; `now` is in seconds of a monotonic clock.

        Raises UnreachableError where there has been no usable connection for its patience.
        """
        if len(self.connections) == self._wanted and not any(held.broken() for held in self.connections):
            if any(held.usable() for held in self.connections):
                self._lost_since, self._pause = None, FIRST_PAUSE
            elif self._lost_since is None:
                self._lost_since = now
            self._give_up(now)
            return
        # A broken one with requests on it is kept until they have all been taken off it.
        reason = next((held.reason for held in self.connections if held.reason), "")
        self.connections = [held for held in self.connections if held.in_flight or not held.broken()]
        if any(held.usable() for held in self.connections):
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        self._give_up(now, reason)
        if now < self._again:
            return
        alive = sum(not held.broken() for held in self.connections)
        self._again = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        for _ in range(self._wanted - alive):
            try:
                self.connections.append(self.connect())
            except nbd.Error:
                return

    def _give_up(self, now: float, reason: str = "") -> None:
        if self._lost_since is not None and now - self._lost_since > self._patience:
            why = f"no connection for {self._patience:.0f} s" + (f" ({reason})" if reason else "")
            raise endpoint.unreachable(self.name, why)
