"""A machine's disks at one point in time: a snapshot for as long as a block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from migratekit_core.adapters.vsphere import cbt, snapshots
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError, UnreachableError
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.replication.ours import owner


@contextmanager
def frozen(job: Job, managed: Any, purpose: str, *, tracked: bool = False) -> Iterator[Any]:
    """Take a snapshot of a machine, yield it, and remove it when the block ends, whatever happened.

    `tracked`: each of its disks has a change id. Where one has none, tracking has only begun with the first snapshot,
    and another one is taken; raises PreconditionError where that has none either.
    """
    if tracked:
        with _held(job, managed, purpose) as first:
            without = cbt.missing(first)
            if not without:
                yield first
                return
        job.log(EventKind.TRACKING_BEGINS, disks=without)
    with _held(job, managed, purpose) as snapshot:
        without = cbt.missing(snapshot) if tracked else []
        if without:
            raise PreconditionError(
                f"changed-block tracking of {managed.name} does nothing",
                f"no change id in two snapshots: {', '.join(without)}",
                "switch it off and on in vCenter (ctkEnabled), then run the command again",
                code=ErrorCode.CBT_IMPOSSIBLE,
                facts={"vm": managed.name, "disks": ", ".join(without)},
            )
        yield snapshot


@contextmanager
def _held(job: Job, managed: Any, purpose: str) -> Iterator[Any]:
    with job.step("create-snapshot") as step:
        name = owner(job.tracker.engine).name(job.id)
        snapshot = snapshots.create(managed, name, f"MigrateKit {purpose}; removed when it ends")
        step.log(EventKind.SOURCE_SNAPSHOT_TAKEN, snapshot=snapshot._moId)
    try:
        yield snapshot
    finally:
        try:
            with job.step("remove-snapshot"):
                snapshots.remove(managed, snapshot._moId)
        except UnreachableError:
            # It must not stay open, and grow, because the way to the joblog is cut.
            snapshots.remove(managed, snapshot._moId)
            raise


def still_frozen(managed: Any, snapshot: Any, name: str) -> None:
    """Raise OperationFailedError where our snapshot is gone: the base file was no point in time any more then."""
    if all(found._moId != snapshot._moId for found, _ in snapshots.made(managed)):
        raise OperationFailedError(
            f"{name} was read while its snapshot was removed",
            f"snapshot {snapshot._moId} is gone; somebody removed it in vCenter",
            "run the command again: what changed meanwhile is copied then",
            code=ErrorCode.SOURCE_CHANGED,
            facts={"vm": name},
        )
