"""What a worker needs to work on a machine: its own configuration and secrets, the database, how it begins."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from distributed import Worker
from sqlalchemy import Engine
from sqlmodel import select

from migratekit_core.config.fleet import Fleet
from migratekit_core.db.engine import write
from migratekit_core.db.models.waves import WaveRow
from migratekit_core.services.fleet.leases import Leases
from migratekit_core.services.fleet.process import Launch
from migratekit_core.services.waves import store
from migratekit_core.services.waves.model import Wave

SAME_SECONDS = 5.0
"""For so long a wave's file is not asked for again: a wave that was begun does not change."""


@dataclass
class Site:
    """A worker's own. Nothing of it leaves its process."""

    name: str
    """host:pid and the like, as people see it."""
    engine: Engine
    fleet: Fleet
    launch: Launch
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when nothing is to be begun any more; what can be, is stopped."""
    leaving: threading.Event = field(default_factory=threading.Event)
    """Set when the worker is no part of the fleet any more: what runs is killed."""
    _making: threading.Lock = field(default_factory=threading.Lock)
    _leases: Leases | None = None

    def places(self, worker: Worker) -> Leases:
        """Return the places of this worker."""
        with self._making:
            if self._leases is None:
                self._leases = Leases(worker, self.fleet.lease)
            return self._leases

    def wave(self, name: str) -> Wave:
        """Return what a wave's file says; it is read anew only where it was changed."""
        with _READING:
            key = (str(self.engine.url), name)
            held = _WAVES.get(key)
            if held is not None and time.monotonic() - held[2] < SAME_SECONDS:
                return held[1]
            query = select(WaveRow.digest).where(WaveRow.name == name)
            digest = write(self.engine, lambda db: db.exec(query).first())
            if held is not None and held[0] == digest:
                wave = held[1]
            else:
                # Seconds for thousands of machines: once for a process.
                stored, wave = store.find(self.engine, name)
                digest = stored.digest
            _WAVES[key] = (str(digest), wave, time.monotonic())
            return wave


_WAVES: dict[tuple[str, str], tuple[str, Wave, float]] = {}
_READING = threading.Lock()
SITES: dict[str, Site] = {}
"""By the name of Dask's worker: a task finds its own here, for it brings ids only."""
