"""What goes into the engine and what comes out: JSON lines both ways.

On stdin: one line with the job, then lines with areas, each a JSON array of `[offset, length]` pairs, and `null`; a
million areas never stand in memory as JSON. Commands may follow (engine.control). On stdout: one event per line, see
`Progress`, `Checkpoint`, `Done` and `Failure`. All sizes and offsets are bytes.

Named tuples, here and throughout the engine: it starts in half the time without importing dataclasses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Any, NamedTuple

from migratekit_core.adapters.tunnel import Gate
from migratekit_core.common.progress import Progress as Progress
from migratekit_core.common.units import MIB

AREAS_PER_LINE = 1000


class Job(NamedTuple):
    """One disk to copy."""

    disk: str
    """What to call it in messages."""
    source: str
    target: str
    size: int
    """Capacity of the source disk in bytes; what the target has beyond it is zeroed by a full copy."""
    full: bool
    """Whether everything outside the areas reads as zeros on the source, and has to on the target."""
    start: int = 0
    """Offset in bytes below which everything is on the target already (a checkpoint)."""
    connections: int | None = None
    """Connections to each side; None: as many as the target's latency asks for."""
    request_size: int = MIB
    window: int | None = None
    """Most bytes in flight; None: as many as the target's latency asks for."""
    rate: int | None = None
    """Limit in bytes per second."""
    carriers: int | None = None
    """Threads that read pieces one by one (engine.carrier), for a target that has multi-conn; None: as many as turn out
    to be faster than none."""
    patience: float | None = None
    """Seconds that the target may be without any connection, from the first one on; None: as the engine has it."""
    gate: Gate | None = None
    """How the data reach the target without a hop on this host; None: as everything else does, by `target`."""


class Checkpoint(NamedTuple):
    """Everything below `position` is written and flushed."""

    position: int
    event: str = "checkpoint"


class Done(NamedTuple):
    """Everything is written and flushed."""

    total: int
    read: int
    written: int
    zeroed: int
    seconds: float
    retries: int
    event: str = "done"


class Failure(NamedTuple):
    """The copy ended early; the last checkpoint says how far it got."""

    error: dict[str, Any]
    """Its fields (errors.to_fields)."""
    event: str = "error"


Event = Progress | Checkpoint | Done | Failure
_EVENTS: dict[str, type[Event]] = {"progress": Progress, "checkpoint": Checkpoint, "done": Done, "error": Failure}


def write_job(stream: IO[str], job: Job, areas: Iterable[tuple[int, int]]) -> None:
    """Write a job and its areas; the stream stays open for commands, and its end tells the engine to stop."""
    stream.write(json.dumps(job._asdict()) + "\n")
    line: list[tuple[int, int]] = []
    for area in areas:
        line.append(area)
        if len(line) == AREAS_PER_LINE:
            stream.write(json.dumps(line) + "\n")
            line = []
    if line:
        stream.write(json.dumps(line) + "\n")
    stream.write("null\n")
    stream.flush()


def read_job(line: bytes) -> Job:
    """Return the job of the first line."""
    fields = json.loads(line)
    gate = fields.pop("gate")
    return Job(**fields, gate=Gate(*gate) if gate else None)


def encode(event: Event) -> str:
    """Return an event as its line."""
    return json.dumps(event._asdict()) + "\n"


def decode(line: str) -> Event:
    """Return the event of a line."""
    fields: dict[str, Any] = json.loads(line)
    return _EVENTS[fields["event"]](**fields)
