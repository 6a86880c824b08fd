"""How long a machine was away in a failover, step by step, and how long it will be in the next one.

Steps are measured by the joblog; a failover that was taken up again has several jobs, and the time between them, when
nobody worked on it, counts as well.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from statistics import median

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.db.engine import write
from migratekit_core.db.models.joblog import JoblogJob, JoblogStep
from migratekit_core.db.models.oma import FailoverState
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.search import first_event

BEGINS = "shutdown-source"
ENDS = frozenset({"boot-check", "start-source"})
"""The new machine runs, or the old one again."""
NOBODY = "(nobody worked on it)"
SAMPLES = 20
"""How many former failovers tell how long a step takes."""
SHUTDOWN_SECONDS, REST_SECONDS = 60.0, 120.0
"""Assumed where nothing was ever measured."""


@dataclass(frozen=True)
class Span:
    """One step of a downtime; times in seconds, `offset` from its begin."""

    step: str
    offset: float
    seconds: float


@dataclass(frozen=True)
class Downtime:
    """How long a machine was away."""

    seconds: float
    spans: tuple[Span, ...]
    over: bool
    """Whether a machine runs by now, the new one or the old one."""


def of_failover(engine: Engine, failover_id: str) -> Downtime | None:
    """Return the downtime of a failover so far; None where the source was not shut down."""

    def look(db: Session) -> list[JoblogStep]:
        state = db.get(FailoverState, failover_id)
        jobs = state.state.get("jobs", []) if state is not None else []
        query = select(JoblogStep).where(col(JoblogStep.job_id).in_(jobs)).order_by(col(JoblogStep.id))
        return list(db.exec(query).all())

    return measure(write(engine, look))


def of_job(engine: Engine, job_id: str) -> Downtime | None:
    """Return the downtime of the failover that a job works for; None where it works for none."""
    event = write(engine, lambda db: first_event(db, [job_id], EventKind.FAILOVER_JOINED))
    failover_id = (event.fields or {}).get("failover_id") if event is not None else None
    return of_failover(engine, failover_id) if failover_id else None


def measure(steps: list[JoblogStep]) -> Downtime | None:
    """Return the downtime that steps tell of, in their order in time."""
    first = next((number for number, step in enumerate(steps) if step.name == BEGINS), None)
    if first is None:
        return None
    began, last = steps[first].started_at, steps[first].started_at
    spans: list[Span] = []
    over, job_id = False, steps[first].job_id
    for step in steps[first:]:
        ended = step.completed_at or step.started_at
        waited = _seconds(last, step.started_at)
        if spans and step.job_id != job_id and waited > 0:
            spans.append(Span(NOBODY, _seconds(began, last), waited))
        elif spans and waited > 0:
            # Between two steps of one job lies what belongs to the one before.
            spans[-1] = Span(spans[-1].step, spans[-1].offset, spans[-1].seconds + waited)
        spans.append(Span(step.name, _seconds(began, step.started_at), _seconds(step.started_at, ended)))
        last = max(last, ended)
        job_id = step.job_id
        over = step.name in ENDS and step.status == "completed"
        if over:
            break
    return Downtime(_seconds(began, last), tuple(spans), over)


class Source(Enum):
    """Where figures are from."""

    OWN = "measured of the machine itself"
    OTHERS = "measured of other machines"
    ASSUMED = "assumed"


@dataclass(frozen=True)
class Usual:
    """What a cut-over takes beside its last sync, in seconds."""

    shutdown: float
    rest: float
    basis: str
    """What it was taken from, for people."""
    assumed: bool = False
    """Whether none of it was ever measured."""


def usual(engine: Engine, vm_name: str) -> Usual:
    """Return how long shutting down, and what follows the last sync, usually take: as measured of this machine, else of
    others, else assumed. A rehearsal tells of all but the shutdown."""
    newest = (
        select(JoblogJob)
        .where(col(JoblogJob.kind).in_(("failover", "test-failover")), JoblogJob.status == "completed")
        .order_by(col(JoblogJob.started_at).desc())
        .limit(200)
    )
    jobs = write(engine, lambda db: list(db.exec(newest).all()))
    own = [job for job in jobs if job.owner == vm_name]
    chosen = [job.id for job in (own or jobs)[:SAMPLES]]
    theirs = select(JoblogStep).where(col(JoblogStep.job_id).in_(chosen))
    steps = write(engine, lambda db: list(db.exec(theirs).all()))
    rests: dict[str, float] = {}
    for step in steps:
        if step.name in AFTERWARDS and step.completed_at is not None:
            rests[step.job_id] = rests.get(step.job_id, 0.0) + _seconds(step.started_at, step.completed_at)
    times, times_own = _shutdowns(engine, vm_name)
    rest, shutdown = _source(rests, bool(own)), _source(times, times_own)
    both = f"shutdown {_told(shutdown, vm_name)}, the rest {_told(rest, vm_name)}"
    return Usual(
        shutdown=median(times) if times else SHUTDOWN_SECONDS,
        rest=median(rests.values()) if rests else REST_SECONDS,
        basis=_told(rest, vm_name) if rest is shutdown else both,
        assumed=rest is shutdown is Source.ASSUMED,
    )


def _shutdowns(engine: Engine, vm_name: str) -> tuple[list[float], bool]:
    """Return how long the newest shutdowns took, and whether they are this machine's own; else they are of others."""
    ended = (
        select(JoblogStep, JoblogJob.owner)
        .join(JoblogJob, col(JoblogJob.id) == col(JoblogStep.job_id))
        .where(JoblogStep.name == BEGINS, JoblogStep.status == "completed")
        .order_by(col(JoblogStep.id).desc())
        .limit(SAMPLES)
    )
    for query, own in ((ended.where(JoblogJob.owner == vm_name), True), (ended, False)):
        found = write(engine, lambda db, query=query: [row for row, _ in db.exec(query).all()])  # type: ignore[misc]
        times = [_seconds(step.started_at, step.completed_at) for step in found if step.completed_at is not None]
        if times:
            return times, own
    return [], False


def _source(measured: Collection[object], own: bool) -> Source:
    """Return where figures are from."""
    if not measured:
        return Source.ASSUMED
    return Source.OWN if own else Source.OTHERS


def _told(source: Source, vm_name: str) -> str:
    """Return where figures are from, for people."""
    return f"measured of {vm_name}" if source is Source.OWN else source.value


AFTERWARDS = frozenset({"move-volumes", "detach-volumes", "root-disk", "data-disks", "start", "boot-check"})
"""Steps that follow the last sync. Earlier versions had `detach-volumes` and so on in the place of `move-volumes`, and
a rehearsal has them; what they deployed meanwhile is not part of the next downtime."""


def _seconds(begin: datetime, end: datetime) -> float:
    return round((end - begin).total_seconds(), 3)
