"""One end of a copy: its connections, more of them when needed, and new ones where they broke."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import nbd

from migratekit_core.engine import endpoint
from migratekit_core.engine.endpoint import Abilities, Connection

SOURCE_PATIENCE = 10.0
"""Seconds that the source may be without any connection before the copy ends: its reader is on this host, so one that
is gone stays gone."""
TARGET_PATIENCE = 180.0
"""The same for the target: a tunnel that is cut for a minute only delays the copy."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between attempts to connect again; each failure doubles them."""
LEAST = 2
"""How many connections are used even where all are to be left alone."""


class Side:
    """One end of a copy."""

    def __init__(self, uri: str, name: str, patience: float, carry: Callable[[], Connection] | None = None) -> None:
        """`carry` begins a connection for data; without it, those are as all others."""
        self.uri = uri
        self.name = name
        self._carry = carry or self.connect
        self._patience = patience
        self.connections: list[Connection] = []
        self.ready: list[Connection] = []
        """Those that requests can be sent on, as of the last `refresh`."""
        self._lent: tuple[Connection, ...] = ()
        self._reserved = 0
        self._spared = 0
        """How many connections somebody has who gives them back."""
        self._returned: deque[Connection] = deque()
        self._wanted = 0
        self._again = 0.0
        self._pause = FIRST_PAUSE
        self._lost_since: float | None = None
        self._news = False
        """Whether a connection broke that had served, and nobody has heard of it."""

    def connect(self) -> Connection:
        """Begin a connection that can be asked anything. Raises nbd.Error where that fails at once."""
        return endpoint.dial(self.uri)

    def open(self, count: int = 1) -> Abilities:
        """Open the first of `count` connections, and begin the others: return what the server can do.

        Raises UnreachableError.
        """
        if self._carry == self.connect:
            self.connections = endpoint.open_some(self.connect, self.name, count)
            able = endpoint.abilities(self.connections[0])
        else:
            first = endpoint.open_one(self.connect, self.name)
            able = endpoint.abilities(first)
            first.close()
            self.connections = endpoint.open_some(self._carry, self.name, count)
        self._wanted = count
        self.refresh()
        return able

    def spare(self) -> Connection | None:
        """Give away the connection that was begun last, which may still be shaking hands; None where there is one only.
        Whoever gets it gives it back, whatever became of it."""
        if len(self.connections) < 2:
            return None
        self._spared += 1
        spared = self.connections.pop()
        self.refresh()
        return spared

    def give_back(self, connection: Connection) -> None:
        """Have a connection that was spared again; for any thread."""
        self._returned.append(connection)

    def widen(self, count: int) -> None:
        """Want `count` connections; they are opened while the copy goes on (`mend`)."""
        if count > self._wanted:
            self._wanted, self._again = count, 0.0

    def refresh(self) -> None:
        """Look again which connections can be used, and which have broken."""
        while self._returned:
            self._spared -= 1
            self.connections.append(self._returned.popleft())
        self._note_losses()
        self.ready = [held for held in self.kept() if held.usable()]
        for held in self.ready:
            held.served = True

    def pick(self) -> Connection | None:
        """Return the usable connection with the least on its way; None where there is none now."""
        best: Connection | None = None
        for connection in self.ready[: max(len(self.ready) - self._reserved, LEAST)]:
            if best is None or connection.in_flight < best.in_flight:
                best = connection
        return best

    def reserve(self, count: int) -> None:
        """Have the newest `count` connections left alone, so that they can be lent, as far as others are left."""
        self._reserved = count

    def lend(self, count: int) -> tuple[Connection, ...]:
        """Leave `count` connections with nothing on their way to somebody else; return them."""
        self._lent = tuple(self.idle()[-count:])
        self._reserved = 0
        self.refresh()
        return self._lent

    def idle(self) -> list[Connection]:
        """Return those that requests can be sent on, and none is on its way."""
        return [held for held in self.ready if not held.in_flight]

    def take_back(self) -> None:
        """Have all that was lent."""
        self._lent = ()
        self.refresh()

    def kept(self) -> list[Connection]:
        """Return the connections that are not lent."""
        return [held for held in self.connections if held not in self._lent]

    def trouble(self) -> bool:
        """Return whether a connection was found broken that is still to be replaced."""
        return any(held.missed for held in self.connections)

    def lost(self) -> bool:
        """Return whether a connection that had served was found broken since this was asked last."""
        news, self._news = self._news, False
        return news

    def _note_losses(self) -> None:
        for held in self.connections:
            if held.broken() and not held.missed:
                held.missed = True
                self._news |= held.served

    def mend(self, now: float) -> None:
        """Drop connections that broke, and open as many as are wanted; `now` is in seconds of a monotonic clock.

        Raises UnreachableError where there has been no usable connection for its patience.
        """
        self.refresh()
        if self.ready:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        elif now - self._lost_since > self._patience:
            reason = next((f" ({held.reason})" for held in self.connections if held.reason), "")
            raise endpoint.unreachable(self.name, f"no connection for {self._patience:.0f} s{reason}")
        # A broken one with requests on it is kept until they have all been taken off it.
        for held in self.connections:
            if held.missed and not held.in_flight:
                # A server that ends waits for those who are connected.
                held.close()
        self.connections = [held for held in self.connections if held.in_flight or not held.missed]
        alive = sum(not held.missed for held in self.connections) + self._spared
        if alive >= self._wanted:
            self._pause = FIRST_PAUSE if self.ready else self._pause
            return
        if now < self._again:
            return
        self._again = now + self._pause
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        for _ in range(self._wanted - alive):
            try:
                self.connections.append(self._carry())
            except nbd.Error:
                return
