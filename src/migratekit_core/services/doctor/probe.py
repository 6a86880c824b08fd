"""`doctor --probe`: a small volume goes the whole way that a replica's volumes go, and away again.

Made, attached to the OMA, exported, written and read through the tunnel, then taken back and deleted, whatever became
of the rest: also where a step fails, takes too long, or the command is asked to stop. What a probe that was killed has
left is removed first. Each step is a line of the report, and a step of a job of the joblog.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from migratekit_core.adapters.tunnel import kinds
from migratekit_core.common import failpoints as points
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import CancelledError, MigrateKitError, OperationFailedError, PreconditionError
from migratekit_core.common.hints import Hint
from migratekit_core.common.units import GIB, MIB, human_bytes
from migratekit_core.config.schema import Config
from migratekit_core.context import Runtime, open_runtime
from migratekit_core.db.schema import require_schema
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.doctor import way
from migratekit_core.services.doctor.model import Answer, Line, Status, line_of
from migratekit_core.services.doctor.run import PROBE, Report
from migratekit_core.services.doctor.trail import LEFT_LATER, Trail
from migratekit_core.volumed import probes
from migratekit_core.volumed.client import VolumeClient

SECONDS = 600.0
"""How long a probe may take unless something else is asked for, without what it takes to remove it again."""
REMOVE_SECONDS = 300.0
BLOCK = MIB
"""Bytes that are written at the volume's beginning, in its middle and at its end."""
NEEDED = frozenset({"tunnel", "database", "daemon"})
"""Topics without which there is nothing to probe."""
REMOVED, LEFT = "its volume was removed", "its volume is left"
Pieces = Sequence[tuple[int, bytes]]
"""What is written: offsets and data."""


class Exported(NamedTuple):
    """The probe's volume, exported."""

    volume_id: str
    name: str
    size: int
    """Bytes of its device."""


def probed(config: Config, found: Report, seconds: float, tell: Callable[[str], None]) -> Report:
    """Return a report with the lines of a probe, which is skipped where what it needs has failed. Raises as `probe`."""
    bad = next((line for line in found.lines if line.topic in NEEDED and line.status is Status.FAILED), None)
    if bad is not None:
        return found.plus(
            [line_of("probe.begin", Answer(PROBE, Status.SKIPPED, f"not tried: {bad.what}: failed"), 0.0)], 0.0
        )
    began = time.monotonic()
    return found.plus(probe(config, seconds, tell), time.monotonic() - began)


def probe(config: Config, seconds: float = SECONDS, tell: Callable[[str], None] = lambda text: None) -> list[Line]:
    """Probe the way to a volume and back; `tell` is told of each step as it begins, `seconds` is for all but the last.

    Returns a line for each step. Raises CancelledError where it was asked to stop; that says whether something is left.
    """
    trail = Trail(tell)
    with trail.begin():
        if importlib.util.find_spec("nbd") is None:
            todo = "run: apt-get install python3-libnbd"
            raise PreconditionError(
                "libnbd's Python binding is not installed",
                "no module nbd",
                todo,
                code=ErrorCode.NOT_INSTALLED,
                facts={"library": "nbd"},
            )
        way.open_way(config)
        way.open_both(config).dispose()
        with open_runtime(way.as_client(config)) as runtime:
            require_schema(runtime.databases)
            with probes.alone(runtime.databases.oma, "doctor --probe"):
                runtime.tracker.mark_interrupted()
                with runtime.tracker.job(probes.KIND, owner="doctor") as job:
                    _probe(runtime, trail, job, seconds)
    return trail.lines()


def _probe(runtime: Runtime, trail: Trail, job: Job, seconds: float) -> None:
    volumes = runtime.volumes(job, REMOVE_SECONDS)
    try:
        # At once, and in their own words, where nobody answers or the token is refused.
        volumes.health()
        volumes.operations(limit=1)
        _there_and_back(runtime, trail, job, volumes, seconds)
    finally:
        volumes.close()


def _there_and_back(runtime: Runtime, trail: Trail, job: Job, volumes: VolumeClient, seconds: float) -> None:
    """Go there, and come back whatever happens on the way. Raises what went wrong first."""
    outcome: BaseException | None = None
    try:
        _remove_leftovers(runtime, trail, job, volumes)
        volumes.until = time.monotonic() + seconds
        _there(runtime, trail, job, volumes)
    except BaseException as error:
        outcome = error
    left = REMOVED
    todo: Hint | str = "run it again"
    try:
        volumes.until = time.monotonic() + REMOVE_SECONDS
        _back(runtime, trail, job, volumes)
    except KeyboardInterrupt as error:
        outcome, left, todo = error, LEFT, LEFT_LATER
    except MigrateKitError as error:
        outcome, left, todo = outcome or error, f"{LEFT} ({error})", LEFT_LATER
    if isinstance(outcome, KeyboardInterrupt):
        raise CancelledError(
            "the probe was interrupted", f"it was asked to stop; {left}", todo, code=ErrorCode.CANCELLED
        )
    if outcome is not None:
        raise outcome


def _remove_leftovers(runtime: Runtime, trail: Trail, job: Job, volumes: VolumeClient) -> None:
    """Remove what killed probes have left; a line tells of it where there was something."""
    engine, began, names = runtime.databases.oma, time.monotonic(), []
    with job.step("remove-leftovers") as step:
        try:
            probes.settle(engine, volumes, REMOVE_SECONDS)
            for volume in probes.ours(engine, volumes.volumes()):
                probes.remove(volumes, volume["id"], REMOVE_SECONDS)
                names.append(str(volume["name"]))
                step.log(EventKind.PROBE_LEFTOVER_REMOVED, volume_id=volume["id"], name=volume["name"])
        except MigrateKitError as error:
            step.log(EventKind.PROBE_LEFTOVER_STAYS, level="warning", error=str(error))
            trail.left_over(names, error, began)
            return
    trail.left_over(names, None, began)


def _there(runtime: Runtime, trail: Trail, job: Job, volumes: VolumeClient) -> None:
    """Make the volume, and write and read it through the tunnel."""
    with trail.step(job, "create") as say:
        created = volumes.create(f"probe-{job.id[:8]}", GIB, probes.tags_of(job.id), f"probe-{job.id}")
        volume_id = str(created["volume_id"])
        say(f"{created['name']}, {human_bytes(created['size'])}")
    with trail.step(job, "attach") as say:
        say(str(volumes.attach(volume_id)["device_path"]))
    with trail.step(job, "export") as say:
        answer = volumes.export(volume_id, "probe", job.id[:8])
        exported = Exported(volume_id, str(answer["export_name"]), int(answer["size"]))
        say("the exporter serves it")
    offsets = (0, exported.size // 2 // BLOCK * BLOCK, exported.size - BLOCK)
    pieces = [(offset, os.urandom(BLOCK)) for offset in offsets]
    with trail.step(job, "write") as say:
        _write(runtime, volumes, exported, pieces)
        say(f"{len(pieces)} blocks of {human_bytes(BLOCK)} {kinds.of(runtime.config.tunnel).way}, and flushed")
    with trail.step(job, "read") as say:
        _read(runtime, volumes, exported, pieces)
        say("the same blocks")


def _write(runtime: Runtime, volumes: VolumeClient, exported: Exported, pieces: Pieces) -> None:
    from migratekit_core.engine import exchange

    uri, gate = runtime.nbd_uri(exported.name), runtime.gate(exported.name)
    with points.call("nbd-write"):
        exchange.write(uri, gate, pieces, "the probe's export", _seconds_left(volumes))


def _read(runtime: Runtime, volumes: VolumeClient, exported: Exported, pieces: Pieces) -> None:
    """Raises OperationFailedError where something else is read than was written."""
    from migratekit_core.engine import exchange

    ranges = [(offset, len(data)) for offset, data in pieces]
    with points.call("nbd-read"):
        found = exchange.read(runtime.nbd_uri(exported.name), ranges, "the probe's export", _seconds_left(volumes))
    for (offset, data), read in zip(pieces, found, strict=True):
        if data != read:
            raise OperationFailedError(
                "the probe's volume does not hold what was written",
                f"{BLOCK} bytes at byte {offset} differ",
                "migrate nothing before you know why: dmesg and the exporter's log on the OMA, the primary storage",
                code=ErrorCode.DATA_DIFFERS,
                facts={"offset": offset},
            )


def _seconds_left(volumes: VolumeClient) -> float:
    assert volumes.until is not None, "set before the first step"
    return max(0.0, volumes.until - time.monotonic())


def _back(runtime: Runtime, trail: Trail, job: Job, volumes: VolumeClient) -> None:
    """Remove what there is of the probe; what was asked for and not waited for may be under way."""
    engine = runtime.databases.oma
    with trail.step(job, "remove") as say:
        probes.settle(engine, volumes, REMOVE_SECONDS)
        listed = [volume["id"] for volume in volumes.volumes() if probes.is_of(volume["tags"], job.id)]
        # Lists may lag behind; the operation that made the volume knows it.
        made = [one["volume_id"] for one in volumes.operations(probes.OPERATIONS) if _made_for(one, job)]
        removed = [probes.remove(volumes, volume_id, REMOVE_SECONDS) for volume_id in dict.fromkeys([*listed, *made])]
        say("unexported, detached and deleted" if any(removed) else "there was nothing to remove")


def _made_for(operation: dict[str, Any], job: Job) -> bool:
    made = operation["type"] == "create" and operation["volume_id"] is not None
    return made and bool(operation["parent_job_id"] == job.id)
