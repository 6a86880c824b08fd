"""The periodic comparison: finds drift, has it repaired by operations where that loses nothing, remembers it all."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from migratekit_core.common.errors import BusyError
from migratekit_core.common.redact import redact
from migratekit_core.db.models.base import utcnow
from migratekit_core.joblog import Job, Tracker
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.tracker import describe
from migratekit_core.volumed.daemon.metrics import Metrics
from migratekit_core.volumed.daemon.operations import COMPLETED, OPEN, Operations, Origin
from migratekit_core.volumed.daemon.reconcile import compare, look
from migratekit_core.volumed.daemon.reconcile.compare import Drift
from migratekit_core.volumed.daemon.reconcile.look import Seen, Sides

KIND = "reconcile"
CONFIRM_SECONDS = 2.0
"""Between the two looks that both have to show a disagreement: CloudStack's lists lag behind, udev takes its time."""
AGAIN_SECONDS = 600.0
"""Until a repair that failed is tried again."""
REPAIR_SECONDS = 60.0
"""How long the other volumes wait for the repair of one; it goes on all the same."""
REMEMBERED = 50
"""Repairs."""
POLL_SECONDS = 0.2
Key = tuple[str | None, str, str]


@dataclass(frozen=True)
class Found:
    """A drift, and since when it is known (UTC)."""

    drift: Drift
    since: datetime


@dataclass(frozen=True)
class Repaired:
    """A drift that the daemon put right."""

    drift: Drift
    at: datetime
    operation_id: str | None
    """None for an export that belongs to no volume."""


@dataclass(frozen=True)
class Report:
    """What the last comparison came to."""

    compared_at: datetime | None = None
    """UTC; None: none has been made yet."""
    seconds: float = 0.0
    volumes: int = 0
    skipped: int = 0
    """Volumes that an operation worked on meanwhile: compared the next time."""
    error: str | None = None
    """Why the last try failed; the rest is then of the one before."""
    drift: tuple[Found, ...] = ()
    repaired: tuple[Repaired, ...] = ()
    """The newest first, since the daemon started."""


@dataclass
class Reconciler:
    """Compares all volumes every `daemon.reconcile_interval` seconds."""

    sides: Sides
    operations: Operations
    tracker: Tracker
    metrics: Metrics
    report: Report = field(default_factory=Report)
    _repaired: deque[Repaired] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    _not_before: dict[Key, float] = field(default_factory=dict)
    """Repairs that failed, and when they may be tried again (monotonic seconds)."""

    def run(self, stopping: threading.Event) -> None:
        """Compare until `stopping`; what goes wrong is told, and tried again the next time."""
        interval = self.sides.settings.reconcile_interval
        while not stopping.is_set():
            try:
                self.once(stopping)
            except Exception as error:
                # Whatever it was: the daemon's requests are answered all the same, and the metrics tell.
                self._failed(redact(describe(error)))
            stopping.wait(interval)

    def once(self, stopping: threading.Event) -> None:
        """Compare all volumes once, and repair. Raises what keeps it from asking CloudStack or the database."""
        began = time.monotonic()
        seen, drift = self._confirmed(stopping)
        if stopping.is_set():
            return
        before = {_key(found.drift): found for found in self.report.drift}
        found = [Found(one, before[_key(one)].since if _key(one) in before else utcnow()) for one in drift]
        due = [one for one in found if one.drift.safe and self._not_before.get(_key(one.drift), 0.0) <= began]
        news = {_key(one.drift) for one in found} != before.keys()
        if news or due:
            found = self._tell(found, due, before, stopping)
        report = Report(
            utcnow(),
            time.monotonic() - began,
            len(seen[0]),
            len(seen[1]),
            None,
            tuple(found),
            tuple(reversed(self._repaired)),
        )
        self.report = report
        self.metrics.compared(
            time.time(),
            report.seconds,
            Counter(_where(one) for one in seen[0]),
            sum(one.export is not None for one in seen[0]),
            Counter(one.drift.kind for one in found),
        )

    def _confirmed(self, stopping: threading.Event) -> tuple[tuple[list[Seen], set[str]], list[Drift]]:
        """Return what was seen (and which volumes were left out), and the drift that two looks agree on."""
        seen, busy, drift = self._look()
        if drift:
            stopping.wait(min(CONFIRM_SECONDS, self.sides.settings.reconcile_interval))
            first = {_key(one) for one in drift}
            seen, busy, drift = self._look()
            drift = [one for one in drift if _key(one) in first]
        return (seen, busy), drift

    def _look(self) -> tuple[list[Seen], set[str], list[Drift]]:
        since = utcnow() - timedelta(seconds=self.sides.settings.settle_timeout)
        seen = look.at_all(self.sides)
        strays = [
            compare.stray(name, look.connections(self.sides.exporter, _end(self.sides, name)))
            for name in look.strays(self.sides)
        ]
        drift = {one.volume_id: compare.drifts(one) for one in seen}
        # Whatever an operation does meanwhile is seen half before and half after, and CloudStack's lists lag behind.
        busy = self.operations.touched(since) & drift.keys()
        found = [one for volume_id, several in drift.items() if volume_id not in busy for one in several]
        return [one for one in seen if one.volume_id not in busy], busy, found + strays

    def _tell(
        self, found: list[Found], due: list[Found], before: dict[Key, Found], stopping: threading.Event
    ) -> list[Found]:
        """Record what is new and what is over, and repair what is due; return what is left."""
        with self.tracker.job("volumes-reconcile", owner="volumes") as job:
            with job.step("compare") as step:
                for one in found:
                    drift = one.drift
                    if _key(drift) not in before:
                        step.log(
                            EventKind.DRIFT_FOUND,
                            text=f"drift: {drift.what}",
                            level="warning",
                            volume_id=drift.volume_id,
                            kind=drift.kind,
                            why=drift.why,
                            todo=str(drift.todo),
                        )
                for key in before.keys() - {_key(one.drift) for one in found}:
                    text = f"drift is over: {before[key].drift.what}"
                    step.log(EventKind.DRIFT_OVER, text=text, volume_id=key[0], kind=key[2])
            done: set[Key] = set()
            for volume_id in dict.fromkeys(one.drift.volume_id for one in due):
                mine = [one.drift for one in due if one.drift.volume_id == volume_id]
                if volume_id is None:
                    done |= self._take_back(job, mine)
                else:
                    done |= self._repair(job, volume_id, mine, stopping)
        return [one for one in found if _key(one.drift) not in done]

    def _repair(self, job: Job, volume_id: str, drift: list[Drift], stopping: threading.Event) -> set[Key]:
        """Have an operation repair a volume's drift; return what was."""
        try:
            asked = {"kinds": sorted(one.kind for one in drift)}
            submitted = self.operations.submit(KIND, asked, volume_id, None, Origin(job.correlation_id, job.id))
        except BusyError:
            return set()
        operation = self.operations.get(submitted.id)
        deadline = time.monotonic() + REPAIR_SECONDS
        while operation is not None and operation.status in OPEN and time.monotonic() < deadline:
            if stopping.wait(POLL_SECONDS):
                break
            operation = self.operations.get(submitted.id)
        kinds = set((operation.response or {}).get("repaired", [])) if operation is not None else set()
        left = set((operation.response or {}).get("left", [])) if operation is not None else set()
        done = {_key(one) for one in drift if one.kind in kinds - left}
        if operation is None or operation.status != COMPLETED:
            self._not_before |= {_key(one): time.monotonic() + AGAIN_SECONDS for one in drift}
        self._note(drift, done, submitted.id)
        return done

    def _take_back(self, job: Job, drift: list[Drift]) -> set[Key]:
        """Take back exports that no row knows; return which."""
        done = set()
        with job.step("take-back-exports") as step:
            for one in drift:
                target = _end(self.sides, one.name)
                self.sides.exporter.remove(one.name)
                if look.connections(self.sides.exporter, target):
                    step.log(EventKind.EXPORT_TAKEN_BACK_IN_USE, level="warning", export=one.name)
                else:
                    step.log(EventKind.EXPORT_TAKEN_BACK, export=one.name)
                done.add(_key(one))
        self._note(drift, done, None)
        return done

    def _note(self, drift: list[Drift], done: set[Key], operation_id: str | None) -> None:
        repaired = [one for one in drift if _key(one) in done]
        self._repaired.extend(Repaired(one, utcnow(), operation_id) for one in repaired)
        self.metrics.repaired(one.kind for one in repaired)

    def _failed(self, error: str) -> None:
        self.metrics.not_compared()
        self.report = replace(self.report, error=error)


def _key(drift: Drift) -> Key:
    return drift.volume_id, "" if drift.volume_id else drift.name, drift.kind


def _where(seen: Seen) -> str:
    if seen.volume is None or seen.volume.vm_id is None:
        return "nowhere"
    return "oma" if seen.volume.vm_id == seen.oma_vm_id else "elsewhere"


def _end(sides: Sides, name: str) -> Path | None:
    """Return the device that an export leads to in the end."""
    target = sides.exporter.target(name)
    return target.resolve() if target else None
