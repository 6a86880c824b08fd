"""Adds up the progress of all disks of a run, writes it down now and then, and looks whether other limits were set."""

from __future__ import annotations

import threading
import time
from typing import Any

from sqlmodel import Session

from migratekit_core.context import Runtime
from migratekit_core.db.engine import write
from migratekit_core.db.models.oma import ReplicationJob
from migratekit_core.engine.bandwidth import Bandwidth, Limits
from migratekit_core.engine.job import Progress
from migratekit_core.joblog import Step
from migratekit_core.joblog.requests import asked

REPORT_SECONDS = 1.0
TOTAL, DISK = "bandwidth", "disk_bandwidth"
"""Settings that a running job takes (joblog.requests): bytes per second, or None for no limit."""


class Board:
    """The progress of one run."""

    def __init__(self, runtime: Runtime, step: Step, bandwidth: Bandwidth) -> None:
        self._runtime = runtime
        self._step = step
        self._bandwidth = bandwidth
        self._disks: dict[str, Progress] = {}
        self._lock = threading.Lock()
        self._written = 0.0
        self._event = 0

    def update(self, disk: str, progress: Progress) -> None:
        """Take a disk's progress."""
        self._bandwidth.used(disk, progress.rate)
        with self._lock:
            self._disks[disk] = progress
            now = time.monotonic()
            if now - self._written < REPORT_SECONDS:
                return
            self._written = now
            done = sum(held.done for held in self._disks.values())
            total = sum(held.total for held in self._disks.values())
            rate = sum(held.rate for held in self._disks.values())

        def change(db: Session) -> tuple[int, dict[str, Any]]:
            job = db.get(ReplicationJob, self._step.job.id)
            assert job is not None, "the sync made its row before it copied"
            job.bytes_transferred, job.total_bytes, job.transfer_speed_bps = done, total, int(rate)
            job.progress_percent = round(100 * done / total, 1) if total else 0.0
            return asked(db, job.id, self._event)

        event, settings = write(self._runtime.databases.oma, change)
        with self._lock:
            if event == self._event:
                return
            self._event = event
        before = self._bandwidth.limits
        self._bandwidth.change(Limits(settings.get(TOTAL, before.total), settings.get(DISK, before.disk)))
        self._runtime.observer.note("other bandwidth limits were set")
