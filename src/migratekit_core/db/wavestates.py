"""What a machine of a wave can be, what is done to it, and which of them leads where."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.common.hints import Command, migratekit

WAITING = "waiting"
RUNNING = "running"
"""A worker has it: `task` says for what, `before` where it goes back to if the worker dies."""
REPLICATED = "replicated"
REHEARSED = "rehearsed"
CUT_OVER = "cut-over"
FAILED = "failed"
"""Its last task failed; `before` is where a retry puts it."""
SKIPPED = "skipped"
"""Not begun, for a machine that it depends on failed; a retry puts it back."""
ROLLED_BACK = "rolled-back"
CANCELLED = "cancelled"
STATES = (WAITING, RUNNING, REPLICATED, REHEARSED, CUT_OVER, FAILED, SKIPPED, ROLLED_BACK, CANCELLED)

GIVEN_BACK, BUSY = "given-back", "busy"
"""Outcomes of an attempt that came to nothing: its worker stopped; somebody else had what it needs."""
STALE_SECONDS = 60.0
"""Without a sign of life for so long a worker's claim counts as lost."""
REPLICATE, REHEARSE, CUTOVER, ROLLBACK = "replicate", "rehearse", "cutover", "rollback"


@dataclass(frozen=True)
class Task:
    """A piece of work on one machine, as a worker claims it."""

    name: str
    takes: tuple[str, ...]
    """States of a machine that it may be begun in."""
    gives: str
    """The machine's state when it is done."""
    command: Command
    """What does it by hand, but for the machine's name."""
    again: bool = False
    """Whether all but the first of `takes` mean that it is done once more."""

    @property
    def first(self) -> tuple[str, ...]:
        """Return the states of a machine that has not done it."""
        return self.takes[:1] if self.again else self.takes


TASKS = {
    task.name: task
    for task in (
        Task(REPLICATE, (WAITING, REPLICATED, REHEARSED), REPLICATED, migratekit("replicate"), again=True),
        Task(REHEARSE, (REPLICATED, REHEARSED), REHEARSED, migratekit("test-failover"), again=True),
        Task(CUTOVER, (REPLICATED, REHEARSED), CUT_OVER, migratekit("failover")),
        Task(ROLLBACK, (CUT_OVER, FAILED), ROLLED_BACK, migratekit("rollback")),
    )
}
REPLICAS = (REPLICATED, REHEARSED)
"""States of a machine that has a replica and still runs where it was."""
RETRIED = (FAILED, SKIPPED, CANCELLED, ROLLED_BACK)
"""States that a retry takes a machine out of."""

# Of a whole wave.
PLANNED = "planned"
COMPLETED = "completed"
"""Its last run ended with every machine where the run's task leads."""
WAVE_STATES = (PLANNED, RUNNING, COMPLETED, FAILED, CANCELLED)


def outcome(states: set[str], *, cancelled: bool) -> str:
    """Return the status of a wave of which nothing runs, by the states that its machines have."""
    if cancelled:
        return CANCELLED
    if states & {FAILED, SKIPPED, ROLLED_BACK}:
        return FAILED
    return PLANNED if WAITING in states else COMPLETED
