"""A machine's disks at one point in time: a snapshot for as long as a block runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.vsphere import cbt, client, snapshots, tasks
from migratekit_core.adapters.vsphere.inventory import VirtualMachine, deleted
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import (
    CancelledError,
    MigrateKitError,
    OperationFailedError,
    PreconditionError,
)
from migratekit_core.common.hints import hint, joined, migratekit
from migratekit_core.common.redact import redact
from migratekit_core.context import Runtime
from migratekit_core.db.models.installation import PendingRemoval
from migratekit_core.joblog import Job
from migratekit_core.joblog.events import EventKind
from migratekit_core.joblog.tracker import describe
from migratekit_core.services.replication import leftover
from migratekit_core.services.replication.ours import owner
from migratekit_core.services.replication.removals import Teller, take_away


@dataclass(frozen=True)
class After:
    """How a snapshot is removed."""

    wait: float | None = None
    """Seconds that it may take before it is left pending; None: `source.removal_wait`."""
    leave: bool = False
    """Whether it is left where the block fails: the caller has something to do first."""


AT_ONCE = After()


@contextmanager
def frozen(
    runtime: Runtime,
    job: Job,
    vm: VirtualMachine,
    managed: Any,
    purpose: str,
    *,
    tracked: bool = False,
    after: After = AT_ONCE,
) -> Iterator[Any]:
    """Take a snapshot of a machine, yield it, and remove it when the block ends, whatever happened.

    `tracked`: each of its disks has a change id. Where one has none, tracking has only begun with the first snapshot,
    and another one is taken; raises PreconditionError where that has none either. `after`: how the snapshot is removed.
    """
    if tracked:
        with _held(runtime, job, vm, managed, purpose, after) as first:
            without = cbt.missing(first)
            if not without:
                yield first
                return
        job.log(EventKind.TRACKING_BEGINS, disks=without)
    with _held(runtime, job, vm, managed, purpose, after) as snapshot:
        without = cbt.missing(snapshot) if tracked else []
        if without:
            raise PreconditionError(
                f"changed-block tracking of {vm.name} does nothing",
                f"no change id in two snapshots: {', '.join(without)}",
                "switch it off and on in vCenter (ctkEnabled), then run the command again",
                code=ErrorCode.CBT_IMPOSSIBLE,
                facts={"vm": vm.name, "disks": ", ".join(without)},
            )
        yield snapshot


@contextmanager
def _held(runtime: Runtime, job: Job, vm: VirtualMachine, managed: Any, purpose: str, after: After) -> Iterator[Any]:
    name = owner(runtime.databases.oma).name(job.id)
    try:
        _noted(runtime, job, vm, name)  # before the call: nobody may be there to hear its answer
        with job.step("create-snapshot") as step, tasks.watched(Teller(step, runtime.observer.note).tell):
            snapshot = snapshots.create(managed, name, f"MigrateKit {purpose}; removed when it ends")
            _noted(runtime, job, vm, snapshot._moId)
            step.log(EventKind.SOURCE_SNAPSHOT_TAKEN, snapshot=snapshot._moId)
        yield snapshot
    except BaseException as error:
        if after.leave:
            raise
        try:
            _remove(runtime, job, vm, managed, name, after.wait)
        except (MigrateKitError, KeyboardInterrupt) as second:
            raise _left(error, second, vm, purpose) from error
        raise
    try:
        _remove(runtime, job, vm, managed, name, after.wait)
    except (MigrateKitError, KeyboardInterrupt) as error:
        raise _left(error, error, vm, purpose) from error


def _noted(runtime: Runtime, job: Job, vm: VirtualMachine, snapshot: str) -> None:
    row = PendingRemoval(
        vm_uuid=vm.uuid,
        snapshot_id=snapshot,
        vm_name=vm.name,
        vcenter_host=runtime.vcenter.host,
        job_id=job.id,
    )
    leftover.opened(runtime.databases.oma, row)


def _remove(runtime: Runtime, job: Job, vm: VirtualMachine, managed: Any, name: str, wait: float | None) -> None:
    """Remove the job's snapshot, waiting for a vCenter that is away: it must not stay open, and grow."""
    with (
        runtime.undoing(job) as undo,
        client.faults(f"the snapshot of {vm.name}"),
        undo.step("remove-snapshot") as step,
    ):
        pending = take_away(runtime, step, vm, managed, name, wait)
    if not pending:
        leftover.closed(runtime.databases.oma, vm.uuid)


def _left(error: BaseException, second: BaseException, vm: VirtualMachine, purpose: str) -> MigrateKitError:
    """Return the error to tell where a snapshot is still there: `error`, and what removes it."""
    if not isinstance(error, MigrateKitError):
        kind = CancelledError if isinstance(error, KeyboardInterrupt) else OperationFailedError
        what = "was interrupted" if kind is CancelledError else "failed unexpectedly"
        code = ErrorCode.CANCELLED if kind is CancelledError else ErrorCode.UNEXPECTED
        error = kind(f"the {purpose} of {vm.name} {what}", redact(describe(error)), code=code, facts={"vm": vm.name})
    why = "" if second is error else f" ({'interrupted' if isinstance(second, KeyboardInterrupt) else second})"
    error.todo = joined("; ", (error.todo, hint(f"its snapshot may still be there{why}: ", leftover.removes(vm.name))))
    return error


@contextmanager
def while_there(managed: Any, name: str) -> Iterator[None]:
    """Raise PreconditionError for whatever goes wrong in the block if the machine was deleted: what a reader of its
    files says then is of no use to anybody."""
    try:
        yield
    except MigrateKitError as error:
        if error.code is not ErrorCode.VM_DELETED and deleted(managed):
            raise PreconditionError(
                f"{name} was deleted in vCenter meanwhile",
                str(error),
                hint("what is left of its replica: ", migratekit("volumes", "drift")),
                code=ErrorCode.VM_DELETED,
                facts={"vm": name},
            ) from error
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
