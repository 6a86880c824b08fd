"""Shares a bandwidth limit among the disks of a run: in total, and for each of them.

A disk that cannot use its share (a slow source, only zeros) leaves it to the others, and gets more as soon as it can.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Send = Callable[[dict[str, int | None]], None]
"""Sends a command to a running engine (engine.control)."""

SETTLE_SECONDS = 1.0
"""How often shares are fitted to what disks use."""
USES_IT = 0.8
"""A disk that uses this part of its share could use more."""


@dataclass(frozen=True)
class Limits:
    """Bytes per second; None for no limit."""

    total: int | None = None
    disk: int | None = None


def shares(limits: Limits, wants: Mapping[str, float]) -> dict[str, int | None]:
    """Return each disk's share; `wants` is how many bytes per second it could use. Together never more than the total:
    who wants less than an equal part gets what it wants, and the others share the rest."""
    if limits.total is None:
        return dict.fromkeys(wants, limits.disk)
    left: float = limits.total
    given: dict[str, int | None] = {}
    ceiling = limits.disk if limits.disk is not None else float("inf")
    for number, disk in enumerate(sorted(wants, key=lambda name: wants[name])):
        share = min(wants[disk], left / (len(wants) - number), ceiling)
        given[disk] = max(int(share), 1)
        left -= share
    return given


@dataclass
class _Disk:
    send: Send | None = None
    wants: float = float("inf")
    share: int | None = None


class Bandwidth:
    """The limit of one run. Called by the threads of its disks."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._disks: dict[str, _Disk] = {}
        self._lock = threading.RLock()
        self._settled = 0.0

    def join(self, disk: str) -> int | None:
        """Count a disk in, and return the share that its engine begins with."""
        with self._lock:
            self._disks[disk] = _Disk()
            self._settle()
            return self._disks[disk].share

    def listen(self, disk: str, send: Send) -> None:
        """Take the way to a disk's engine; from now on it hears of changes."""
        with self._lock:
            held = self._disks[disk]
            held.send = send
            # What changed between the start and now.
            send({"rate": held.share})

    def leave(self, disk: str) -> None:
        """Count a disk out: the others get its share."""
        with self._lock:
            self._disks.pop(disk, None)
            self._settle()

    def used(self, disk: str, rate: float) -> None:
        """Hear how many bytes per second a disk has used lately."""
        with self._lock:
            held = self._disks.get(disk)
            if held is None or held.share is None or self._limits.total is None:
                return
            fair = self._limits.total / len(self._disks)
            held.wants = float("inf") if rate >= USES_IT * held.share else max(2 * rate, fair / 4)
            if time.monotonic() - self._settled >= SETTLE_SECONDS:
                self._settle()

    def change(self, limits: Limits) -> None:
        """Set other limits for the disks that run and for those to come."""
        with self._lock:
            self._limits = limits
            for held in self._disks.values():
                held.wants = float("inf")
            self._settle()

    @property
    def limits(self) -> Limits:
        """Return the limits that hold now."""
        return self._limits

    def _settle(self) -> None:
        self._settled = time.monotonic()
        for disk, share in shares(self._limits, {disk: held.wants for disk, held in self._disks.items()}).items():
            held = self._disks[disk]
            if share != held.share:
                held.share = share
                if held.send is not None:
                    held.send({"rate": share})
