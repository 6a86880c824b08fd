"""Writes down now and then how far a job is with each thing, for whoever watches it from elsewhere."""

from __future__ import annotations

import threading
import time

from migratekit_core.joblog.tracker import Job

WRITE_SECONDS = 1.0


class Gauge:
    """How far the things of one job are. Called from any thread."""

    def __init__(self) -> None:
        self._written: dict[str, float] = {}
        self._lock = threading.Lock()

    def update(self, job: Job, item: str, done: int, total: int, rate: float) -> None:
        """Take how far a thing is (bytes, and bytes per second); the end is always written, the rest once a second."""
        now = time.monotonic()
        with self._lock:
            if done < total and now - self._written.get(item, now - WRITE_SECONDS) < WRITE_SECONDS:
                return
            self._written[item] = now
        job.progress(item, done, total, rate)
