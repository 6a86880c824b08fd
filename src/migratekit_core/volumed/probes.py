"""The volumes of `doctor --probe`: how they are known, and how all that a probe has left is removed.

They carry the tag of everything that we make with `probe` for its value, which is no source machine's uuid, and the id
of the probe's job. One probe at a time works with a database: it holds the lock of that name, as everybody does who
removes what a probe has left.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.db.engine import write
from migratekit_core.db.locks import Lock, vm_lock
from migratekit_core.db.models.joblog import JoblogJob
from migratekit_core.volumed.client import VolumeClient
from migratekit_core.volumed.names import PROBE, PROBE_TAG, TAG

KIND = "probe"
"""Kind of a probe's job."""
OPEN = ("pending", "running")
OPERATIONS = 200
"""The newest operations, among which those for probes are looked for."""
POLL_SECONDS = 0.5


@contextmanager
def alone(engine: Engine, purpose: str) -> Iterator[Lock]:
    """Hold all probes of a database. Raises BusyError, naming the holder."""
    held = False
    try:
        with vm_lock(engine, PROBE, purpose) as lock:
            held = True
            yield lock
    except BusyError as error:
        if held:
            raise
        raise BusyError(
            "another probe runs",
            error.why,
            hint("wait for its end: ", migratekit("jobs", "list", "--type", "probe")),
            code=ErrorCode.ALREADY_RUNNING,
        ) from None


def tags_of(job_id: str) -> dict[str, str]:
    """Return the tags of a probe's volume."""
    return {TAG: PROBE, PROBE_TAG: job_id}


def is_probe(tags: dict[str, str]) -> bool:
    """Return whether a volume with these tags was made by a probe, of whatever database."""
    return tags.get(TAG) == PROBE


def is_of(tags: dict[str, str], job_id: str) -> bool:
    """Return whether a volume with these tags was made by the probe whose job has this id."""
    return is_probe(tags) and tags.get(PROBE_TAG) == job_id


def ours(engine: Engine, volumes: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of these volumes that a probe of this database made: several OMAs may share an account."""
    found = [volume for volume in volumes if is_probe(volume["tags"])]
    jobs = _probes(engine, {volume["tags"].get(PROBE_TAG, "") for volume in found})
    return [volume for volume in found if volume["tags"].get(PROBE_TAG) in jobs]


def settle(engine: Engine, volumes: VolumeClient, seconds: float) -> None:
    """Wait until the daemon works for no probe of this database: it goes on with what a killed one has asked for.

    Raises BusyError where that takes longer than `seconds`.
    """
    deadline = time.monotonic() + seconds
    while True:
        waiting = [one for one in volumes.operations(OPERATIONS) if one["status"] in OPEN and one["parent_job_id"]]
        jobs = _probes(engine, {one["parent_job_id"] for one in waiting})
        mine = next((one for one in waiting if one["parent_job_id"] in jobs), None)
        if mine is None:
            return
        if time.monotonic() > deadline:
            raise BusyError(
                "the volume daemon still works for a probe",
                f"operation {mine['id']} ({mine['type']}) does not end",
                hint("look with: ", migratekit("volumes", "operations")),
                code=ErrorCode.OPERATION_STUCK,
                facts={"operation_id": mine["id"]},
            )
        time.sleep(POLL_SECONDS)


def remove(volumes: VolumeClient, volume_id: str, seconds: float) -> bool:
    """Unexport, detach and delete a probe's volume, whatever state it is in; return whether there was one.

    Raises BusyError where somebody stays connected to it for so many seconds, and what the daemon's operations raise.
    """
    volume = volumes.get(volume_id)
    if volume is None:
        return False
    deadline = time.monotonic() + seconds
    while True:
        try:
            volumes.unexport(volume_id)
            break
        except BusyError:
            # The connection of whoever was killed is still being taken down.
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)
    if volume["vm_id"] is not None or volume["cloudstack_state"] != "detached":
        volumes.detach(volume_id)
    volumes.delete(volume_id)
    return True


def _probes(engine: Engine, ids: Collection[str]) -> set[str]:
    """Return those of these ids that are jobs of probes in this database."""

    def read(db: Session) -> set[str]:
        query = select(JoblogJob.id).where(col(JoblogJob.id).in_(ids), JoblogJob.kind == KIND)
        return set(db.exec(query).all())

    return write(engine, read) if ids else set()
