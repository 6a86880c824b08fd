"""What there is to see of a wave while it goes on: how much is done, how fast, how long yet, and who needs somebody."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.db.wavestates import (
    CANCELLED,
    CUT_OVER,
    FAILED,
    REHEARSED,
    REPLICATE,
    REPLICATED,
    ROLLED_BACK,
    RUNNING,
    SKIPPED,
    STATES,
    TASKS,
    WAITING,
)
from migratekit_core.services.waves.look import MachineState, Snapshot

SILENT_SECONDS = 30.0
"""Workers give a sign of life every few seconds; after so many without one that is worth saying."""
COPIED = frozenset({REPLICATED, REHEARSED, CUT_OVER})
TROUBLE = (FAILED, SKIPPED)
ON_THE_WAY = (WAITING, REPLICATED, REHEARSED, CUT_OVER)


@dataclass(frozen=True)
class Overview:
    """A wave at one moment. Sizes are bytes, rates bytes per second, times seconds."""

    seen: Snapshot
    counts: tuple[tuple[str, int], ...]
    """How many machines are in which state, in the order of states; states that none is in are left out."""
    done: int
    total: int
    """Of the first syncs: of all machines that are to be copied, cancelled ones aside."""
    rate: int
    seconds_left: float | None
    """Of the copies; None where nobody knows."""
    seconds: float | None
    """Since its begin, up to its end; None where it was not begun."""
    finished: int
    """Machines that are where the wave's task leads, or beyond."""
    expected: int
    running: tuple[MachineState, ...]
    """The furthest first."""
    troubles: tuple[MachineState, ...]
    silent: tuple[MachineState, ...]
    """Machines whose workers say nothing."""

    @property
    def copies(self) -> bool:
        """Return whether bytes tell how far it is; else machines do."""
        return self.seen.wave.task in (None, REPLICATE)

    @property
    def idle(self) -> bool:
        """Return whether no worker has any of its machines."""
        return not self.running


def overview(seen: Snapshot) -> Overview:
    """Return what there is to see."""
    wave, counts = seen.wave, seen.counts
    counted = [each for each in seen.machines if each.state not in (CANCELLED, SKIPPED)]
    done, total = sum(_done(each) for each in counted), sum(_total(each) for each in counted)
    running = seen.of(RUNNING)
    copying = [each for each in running if each.task == REPLICATE]
    rate = sum(each.rate for each in copying)
    left = (total - done) / rate if rate and total > done else None
    goal = TASKS[wave.task].gives if wave.task else REPLICATED
    begin, end = wave.started_at, wave.ended_at
    return Overview(
        seen=seen,
        counts=tuple((state, counts[state]) for state in STATES if counts[state]),
        done=done,
        total=total,
        rate=rate,
        seconds_left=left,
        seconds=((end or seen.now) - begin).total_seconds() if begin is not None else None,
        finished=sum(each.state in reached(goal) for each in counted),
        expected=len(counted),
        running=tuple(sorted(running, key=lambda each: (-fraction(each), each.position))),
        # Also what waits because somebody else has what it needs: why, is told with it.
        troubles=seen.of(*TROUBLE) + tuple(each for each in seen.of(*ON_THE_WAY) if each.error is not None),
        silent=tuple(each for each in running if silence(each, seen) > SILENT_SECONDS),
    )


def reached(goal: str) -> tuple[str, ...]:
    """Return the states of a machine that is where a task leads, or beyond."""
    return ON_THE_WAY[ON_THE_WAY.index(goal) :] if goal in ON_THE_WAY else (ROLLED_BACK,)


def fraction(machine: MachineState) -> float:
    """Return how far a machine's copy is, from 0 to 1."""
    return min(machine.bytes_done / machine.bytes_total, 1.0) if machine.bytes_total else 0.0


def silence(machine: MachineState, seen: Snapshot) -> float:
    """Return for how many seconds a machine's worker has said nothing."""
    return (seen.now - machine.heartbeat_at).total_seconds() if machine.heartbeat_at is not None else 0.0


def _copied(machine: MachineState) -> bool:
    return machine.state in COPIED or machine.came_from in COPIED


def _done(machine: MachineState) -> int:
    return _total(machine) if _copied(machine) else min(machine.bytes_done, _total(machine))


def _total(machine: MachineState) -> int:
    return max(machine.bytes_total, 0)
