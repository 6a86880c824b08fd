"""The copy of one disk: what to do is planned, a worker does it, and this keeps watch: progress, checkpoints, the end.

A piece whose connection broke is sent again on another one; a piece that a server refuses is tried again a few times
and then ends the copy: no piece is ever skipped. Nothing is called done before the target has flushed it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from migratekit_core.adapters.tunnel import Gate
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.common.units import round_up
from migratekit_core.engine import endpoint
from migratekit_core.engine.areas import aligned, normalise
from migratekit_core.engine.checkpoint import Checkpoints
from migratekit_core.engine.endpoint import Abilities, Connection
from migratekit_core.engine.extents import UNASKED, Extent, Extents
from migratekit_core.engine.job import Checkpoint, Done, Event, Job, Progress
from migratekit_core.engine.ledger import Ledger
from migratekit_core.engine.pace import Pace
from migratekit_core.engine.plan import Ask, Shape, pieces
from migratekit_core.engine.rate import RateLimit, piece_size
from migratekit_core.engine.side import FIRST_PAUSE, LONGEST_PAUSE, SOURCE_PATIENCE, TARGET_PATIENCE, Side
from migratekit_core.engine.sizing import (
    AT_ONCE,
    BESIDE,
    CARRIERS,
    CONNECTIONS,
    ENOUGH_ANSWERS,
    FAR_CONNECTIONS,
    LARGE,
    NEAR,
    NEAR_AGAIN,
    QUICK,
    SURE_ANSWERS,
    WINDOW,
    Size,
    size_for,
)
from migratekit_core.engine.worker import NONE, Wish, Worker

PROGRESS_SECONDS = 1.0
LOOK_SECONDS = 0.02
"""How often everything but the transfer itself is looked after."""
FIRST_LOOK_SECONDS, FIRST_SECONDS = 0.005, 1.0
"""The same until carriers have been measured, and after how long there is no hurry any more."""
LANDING_SECONDS = 0.5
"""How long a stop waits for what is in flight; what does not land is copied again."""
LAST_FLUSH_SECONDS = 0.8
"""How long it then waits for the flush: a stop may take two seconds in all."""


class Interrupted(Exception):
    """The copy was asked to stop."""


class Copier:
    """Copies one disk. `emit` is told what happens; `commands` yields changes, `stopping` says whether to stop."""

    def __init__(
        self,
        job: Job,
        emit: Callable[[Event], None],
        stopping: Callable[[], bool],
        commands: Callable[[], Iterator[dict[str, Any]]] = lambda: iter(()),
    ) -> None:
        self._job = job
        self._emit = emit
        self._stopping = stopping
        self._commands = commands
        self._total = 0
        self._size = size_for(0.0)
        """For what has been measured so far."""
        self._corrected = False
        """Whether a target that seemed to be far turned out to be near."""

    def run(self, pairs: Iterator[tuple[int, int]]) -> Done:
        """Copy the areas of `pairs`, and return what was done.

        Raises OperationFailedError or PreconditionError for what cannot be copied, UnreachableError for a server that
        stays away, and Interrupted after a stop.
        """
        began = time.monotonic()
        job = self._job
        first = self._sides()
        count = job.connections or CONNECTIONS
        # All at once: nbdkit looks for the first hole of a whole file before it greets anybody.
        source = self._open(first[0], SOURCE_PATIENCE, min(count, FAR_CONNECTIONS))
        target = self._open(first[1], self._patience, 1)
        self._check(source, target)
        granule = max(source.minimum_block, target.minimum_block)
        # A request is whole blocks of both servers.
        largest = min(piece_size(job.rate, job.request_size), source.maximum_block, target.maximum_block)
        shape = Shape(job.size, max(largest // granule * granule, granule), target.zero)
        needed = round_up(job.size, granule)
        endpoint.refuse_small(target.size, needed, f"{first[1].name} (in blocks of {granule} bytes)")
        areas = normalise(pairs, job.start, needed, granule)
        self._total = areas.total()
        stop = target.size // granule * granule if job.full else needed
        extents = self._extents(source, target, *first, granule)
        zero_piece = None if target.zero else shape.request
        plan = pieces(areas, job.start, stop, job.full, shape.request, *extents, zero_piece)
        limit = RateLimit(job.rate, began)
        ledger = Ledger(job.disk, plan, job.start, job.window or WINDOW, limit, zeros_weigh=not target.zero)
        # What the target says of itself counts only after a flush: it may be what a run that died left in a cache.
        ledger.held = job.full and target.extents

        worker = Worker(shape, ledger, *first)
        # Without multi-conn a flush covers its own connection only, and what others wrote may be lost.
        first[1].widen(count if target.multi_conn else 1)
        emit = self._emit
        checkpoints = Checkpoints(job.disk, ledger, worker.to_flush_on, worker.drive, lambda at: emit(Checkpoint(at)))
        try:
            self._watch(ledger, worker, checkpoints, target, began)
        finally:
            worker.close()
        self._emit(Checkpoint(stop))
        return Done(
            total=self._total,
            read=ledger.read,
            written=ledger.written,
            zeroed=ledger.zeroed,
            seconds=time.monotonic() - began,
            retries=ledger.retries,
        )

    def _sides(self) -> tuple[Side, Side]:
        job = self._job
        return (
            Side(job.source, f"source of {job.disk}", SOURCE_PATIENCE),
            Side(job.target, f"target of {job.disk}", self._patience, _carrier(job.gate)),
        )

    @property
    def _patience(self) -> float:
        """Return how many seconds the target may be without any connection."""
        return TARGET_PATIENCE if self._job.patience is None else self._job.patience

    def _open(self, side: Side, patience: float, count: int) -> Abilities:
        """Open a side's first connections, as patiently as later ones; what a server refuses is refused at once."""
        deadline, pause = time.monotonic() + patience, FIRST_PAUSE
        while True:
            try:
                return side.open(count)
            except UnreachableError as error:
                if error.facts.get("errno") in endpoint.REFUSED or time.monotonic() + pause > deadline:
                    raise
            wake = time.monotonic() + pause
            while time.monotonic() < wake:
                if self._stopping():
                    raise Interrupted
                time.sleep(FIRST_PAUSE)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _check(self, source: Abilities, target: Abilities) -> None:
        endpoint.refuse_small(source.size, self._job.size, f"source of {self._job.disk}")
        endpoint.refuse_small(target.size, self._job.size, f"target of {self._job.disk}")
        if target.read_only:
            raise PreconditionError(
                f"target of {self._job.disk} is read-only",
                "the export cannot be written",
                "export it again",
                code=ErrorCode.TARGET_UNFIT,
                facts={"disk": self._job.disk},
            )
        if not target.flush:
            raise PreconditionError(
                f"target of {self._job.disk} cannot flush",
                "so nothing that is written to it is ever known to be safe",
                "set flush = true for the export, or use another exporter",
                code=ErrorCode.TARGET_UNFIT,
                facts={"disk": self._job.disk},
            )

    def _extents(
        self, source: Abilities, target: Abilities, from_side: Side, to_side: Side, granule: int
    ) -> tuple[Ask, Ask | None]:
        ask = None
        if source.extents:
            spared = from_side.spare()
            ask = Extents(from_side.connect, source.size, from_side.name, UNASKED, spared, from_side.give_back)
        # The disk's last block may be less than the target's blocks are; it is always copied, with zeros behind it.
        whole = self._job.size // granule * granule

        def of_source(start: int, end: int) -> Iterator[Extent]:
            known = min(end, whole)
            if ask is not None and start < known:
                yield from aligned(ask(start, known), start, known, granule)
            elif start < known:
                yield start, known, False
            if known < end:
                yield max(start, known), end, False

        # Only a full copy may rely on what the target says: there nothing but this copy writes to it.
        if not self._job.full or not target.extents:
            return of_source, None
        ask_target = Extents(to_side.connect, target.size, to_side.name)
        return of_source, lambda start, end: aligned(ask_target(start, end), start, end, granule)

    def _watch(self, ledger: Ledger, worker: Worker, checkpoints: Checkpoints, target: Abilities, began: float) -> None:
        """Have the worker work, and look after everything else until it is done."""
        reported, reported_done = began, 0
        pace = Pace(began)
        stopped_at: float | None = None

        def look(now: float) -> None:
            # In this order: a flush that was answered after a connection broke proves nothing.
            if worker.target.lost():
                ledger.doubt()
            checkpoints.tick(now)

        now = began
        while not checkpoints.complete:
            self._adapt(ledger, worker, target, pace)
            seconds = LOOK_SECONDS if pace.settled or now - began > FIRST_SECONDS else FIRST_LOOK_SECONDS
            worker.work(time.monotonic() + seconds, look)
            now = time.monotonic()
            look(now)
            if ledger.failure is not None:
                raise ledger.failure
            for command in self._commands():
                if "rate" in command:
                    ledger.change_rate(command["rate"], now)
            if stopped_at is None and self._stopping():
                ledger.stopping, stopped_at = True, now
            if stopped_at is not None and (not ledger.flying or now - stopped_at > LANDING_SECONDS):
                self._last_checkpoint(checkpoints)
                raise Interrupted
            if now - reported >= PROGRESS_SECONDS:
                self._report(ledger, worker, (ledger.done - reported_done) / (now - reported))
                reported, reported_done = now, ledger.done
        self._report(ledger, worker, ledger.done / max(time.monotonic() - began, 1e-6))

    def _last_checkpoint(self, checkpoints: Checkpoints) -> None:
        """Write the checkpoint of a stop, if the target flushes in time; the last one holds otherwise."""
        with contextlib.suppress(OperationFailedError):
            checkpoints.last(LAST_FLUSH_SECONDS)

    def _adapt(self, ledger: Ledger, worker: Worker, target: Abilities, pace: Pace) -> None:
        """Fit connections, window and who carries to how fast answers are, as far as the job leaves them open."""
        job = self._job
        known = ledger.answers >= ENOUGH_ANSWERS
        size = self._size
        if ledger.answers:
            size = self._larger(ledger.latency)
            if job.window is None:
                ledger.window = size.window
        if known:
            self._corrected |= size < self._size
            self._size = size
            if job.window is None:
                ledger.reading_window = max(ledger.reading_window, size_for(ledger.reading).window)
            if job.connections is None and target.multi_conn:
                worker.target.widen(size.connections)
            # A source on this host has better things to do in the beginning, and is slow for a while.
            if job.connections is None and ledger.reading > BESIDE and ledger.answers > SURE_ANSWERS:
                worker.source.widen(min(size.connections, FAR_CONNECTIONS))
        if target.multi_conn and (count := self._carriers(ledger, worker, pace, known)):
            worker.want_carriers(Wish(count, max(self._size.connections // count, 1), self._size.carried))
        else:
            worker.want_carriers(NONE)

    def _larger(self, latency: float) -> Size:
        """Return the size for a target that answers in `latency` seconds, no less than it was so far: for one that is
        neither near nor far, the copy would go to and fro. Once, it may be less: the first answers are slow ones."""
        size = size_for(latency)
        return size if latency <= NEAR_AGAIN and not self._corrected else Size(*map(max, self._size, size))

    def _carriers(self, ledger: Ledger, worker: Worker, pace: Pace, known: bool) -> int:
        """Return how many carriers are wanted now; `known`: whether it is, how fast answers are."""
        job, carrying = self._job, bool(worker.carriers)
        if job.carriers is not None:
            return job.carriers
        if job.window is not None or job.connections is not None:
            return 0
        now = time.monotonic()
        # A limit that is felt makes all ways equally fast.
        if not carrying and ledger.limit.binds(now):
            return 0
        beside, large = ledger.reading <= BESIDE, ledger.read >= LARGE * ledger.pieces
        if not beside or not large or not (known or carrying):
            return 0
        # What is on its way to a far target takes some time to land, in which nothing can be measured.
        if worker.awaited:
            return CARRIERS
        quick = ledger.read >= QUICK * ledger.reading * ledger.pieces
        likely = quick and not AT_ONCE < ledger.latency <= NEAR
        return CARRIERS if pace.carry(now, ledger.read, carrying, likely) else 0

    def _report(self, ledger: Ledger, worker: Worker, rate: float) -> None:
        self._emit(
            Progress(
                done=ledger.done,
                total=self._total,
                read=ledger.read,
                written=ledger.written,
                zeroed=ledger.zeroed,
                rate=rate,
                window=ledger.window,
                connections=len(worker.target.connections),
                retries=ledger.retries,
                carriers=worker.carriers,
            )
        )


def _carrier(gate: Gate | None) -> Callable[[], Connection] | None:
    if gate is None:
        return None
    # Where there is no gate, an engine starts faster without Python's ssl module.
    from migratekit_core.engine.secured import SecuredHandle

    return lambda: Connection(SecuredHandle(gate))
