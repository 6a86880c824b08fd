"""From one phase of a run to the next. Pure: what the database says goes in, what to do comes out."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.db.wavestates import (
    CUT_OVER,
    CUTOVER,
    FAILED,
    REHEARSE,
    REHEARSED,
    REPLICATE,
    ROLLBACK,
    RUNNING,
)
from migratekit_core.services.waves.look import NEVER, Snapshot

RUN, CUT = "run", "cutover"
"""Kinds of runs: `wave run`, `wave cutover`."""
GATE, ABORT, DONE = "gate", "abort", "done"
PHASES = (REPLICATE, REHEARSE, GATE, CUTOVER, ABORT, ROLLBACK, DONE)
TASK_OF = {REPLICATE: REPLICATE, REHEARSE: REHEARSE, CUTOVER: CUTOVER, ROLLBACK: ROLLBACK}
"""What is begun in a phase; in the others nothing is."""


@dataclass(frozen=True)
class Course:
    """What was asked for."""

    kind: str
    phase: str
    rehearse: bool
    gate_open: bool
    abort_below: float
    """Per cent of the machines."""


@dataclass(frozen=True)
class Turn:
    """What comes next."""

    phase: str
    note: str = ""
    failed: bool = False


def first(kind: str, rehearse: bool) -> str:
    """Return the phase that a run begins with."""
    if kind == RUN:
        return REPLICATE
    return REHEARSE if rehearse else CUTOVER


def waits_for_a_yes(course: Course) -> bool:
    """Return whether a run stands at the gate, and nobody has opened it yet."""
    return course.phase == GATE and not course.gate_open


def turn(course: Course, seen: Snapshot, waiting: bool) -> Turn:
    """Return the phase that a run is in now. `waiting`: there is a machine that may be begun in this phase."""
    busy = bool(seen.of(RUNNING))
    phase = course.phase
    if phase == CUTOVER and _too_few(course, seen):
        # Nothing more is begun; what runs goes on to its end, one way or the other.
        return Turn(ABORT, _score(seen, course))
    if phase == ABORT:
        return Turn(ABORT, _score(seen, course)) if busy else Turn(ROLLBACK, _score(seen, course), failed=True)
    if busy:
        return Turn(phase)
    if seen.wave.cancel_asked and phase != ROLLBACK:
        return Turn(DONE, f"cancelled by {seen.wave.asked_by or 'somebody'}", failed=True)
    if waiting or (seen.wave.paused and phase != ROLLBACK):
        return Turn(phase, "paused" if seen.wave.paused and phase != ROLLBACK else "")
    if phase == REHEARSE and _too_few(course, seen):
        return Turn(DONE, _score(seen, course) + "; nothing was cut over", failed=True)
    if phase in (REHEARSE, GATE):
        return Turn(CUTOVER) if course.gate_open else Turn(GATE, str(gate(seen.wave.name)))
    if phase == ROLLBACK:
        stuck = [each.name for each in seen.of(FAILED) if each.task == ROLLBACK]
        why = f"; the rollback failed of {', '.join(stuck)}" if stuck else ""
        return Turn(DONE, f"rolled back: {_score(seen, course)}{why}", failed=True)
    bad = [each for each in seen.machines if each.state in NEVER]
    return Turn(DONE, failed=bool(bad))


def gate(name: str) -> Hint:
    """Return what a wave of that name waits for at the gate."""
    return hint(
        "every machine is rehearsed; the cut-over waits for a yes: ", migratekit("wave", "cutover", name, "--yes")
    )


def lost(seen: Snapshot) -> int:
    """Return how many machines will not get there."""
    return sum(each.state in NEVER for each in seen.machines)


def _too_few(course: Course, seen: Snapshot) -> bool:
    return 100.0 * (len(seen.machines) - lost(seen)) < course.abort_below * len(seen.machines)


def _score(seen: Snapshot, course: Course) -> str:
    number, over = lost(seen), len(seen.of(CUT_OVER))
    done = f"{over} are cut over" if over else f"{len(seen.of(REHEARSED))} are rehearsed"
    return f"{number} of {len(seen.machines)} machines failed, {done}; less than {course.abort_below:g}% can succeed"
