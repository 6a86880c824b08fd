"""Takes our snapshots away from the source, and finishes what an earlier job could not.

Merging a snapshot's delta takes vSphere minutes to hours. A job whose data is committed waits for it as long as
`source.removal_wait` says; then it is written down as pending, and the machine's next job finishes it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from migratekit_core.adapters.vsphere import consolidation, snapshots, tasks
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.adapters.vsphere.tasks import StillRunningError, Waiting
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, PreconditionError
from migratekit_core.common.units import human_seconds
from migratekit_core.context import Runtime
from migratekit_core.joblog import Step
from migratekit_core.joblog.events import EventKind
from migratekit_core.services.replication import leftover
from migratekit_core.services.replication.ours import owner

SAY_SECONDS = 60.0
"""Between two lines about one task."""


@dataclass
class Teller:
    """Tells who watches, and the joblog, now and then what a task of vSphere's is doing."""

    step: Step
    note: Callable[[str], None]
    _asked: str = field(default="", init=False)
    _said: float = field(default_factory=lambda: time.monotonic() - SAY_SECONDS, init=False)

    def tell(self, waiting: Waiting) -> None:
        """Take how a task is."""
        question = waiting.question
        if question is not None and question.text != self._asked:
            self._asked = question.text
            self.step.log(
                EventKind.SOURCE_ASKS, level="warning", question=question.text, choices=list(question.choices)
            )
            self.note(f"the machine asks something in vCenter, and the task waits for the answer: {question.text}")
        now = time.monotonic()
        if now - self._said < SAY_SECONDS:
            return
        self._said = now
        progress = "" if waiting.progress is None else f", {waiting.progress} %"
        self.step.log(
            EventKind.SOURCE_TASK_RUNS,
            task=waiting.task,
            progress=waiting.progress,
            seconds=round(waiting.seconds),
        )
        self.note(f"vSphere works: {waiting.task}{progress}, for {human_seconds(waiting.seconds)}")


def take_away(
    runtime: Runtime, step: Step, vm: VirtualMachine, managed: Any, name: str, wait: float | None = None
) -> str:
    """Remove the snapshot with this name, and consolidate where its disks stay behind; return "" where that is done.

    Where it takes longer than `wait` seconds (`source.removal_wait`), and where somebody has the disks locked, return
    why it is pending: it is written down, and the machine's next job finishes it. Raises what else vSphere and the
    database report.
    """
    limit = runtime.config.source.removal_wait if wait is None else wait
    with tasks.watched(Teller(step, runtime.observer.note).tell, limit):
        try:
            snapshots.remove_named(managed, name)
            if consolidation.consolidate(managed):
                step.log(EventKind.CONSOLIDATED)
            return ""
        except (BusyError, PreconditionError) as error:
            if error.code not in PENDING:
                raise
            code, reason = error.code, error.why
    leftover.stays(runtime.databases.oma, vm.uuid, reason)
    step.log(EventKind.REMOVAL_PENDING, level="warning", snapshot=name, code=code, reason=reason)
    runtime.observer.note(f"the removal of the snapshot of {vm.name} is pending: {reason}")
    return reason


PENDING = (ErrorCode.VM_BUSY, ErrorCode.VM_ASKS, ErrorCode.CONSOLIDATION_NEEDED)
"""Why a removal may be pending: vSphere is at it, or waits for somebody; or files are locked."""


def finish(runtime: Runtime, step: Step, vm: VirtualMachine, managed: Any, *, killed: bool = False) -> list[str]:
    """Finish what earlier jobs have left at the source before another snapshot is taken: removals that vSphere is still
    at, snapshots of ours, disks to be consolidated. Return the names of the snapshots that were removed.

    `killed`: an earlier job ended in the middle, so that vSphere may be at anything.

    Raises BusyError where vSphere still works on a removal after `source.removal_wait`, PreconditionError where disks
    cannot be consolidated.
    """
    engine = runtime.databases.oma
    left = leftover.pending(engine, vm.uuid)
    with tasks.watched(Teller(step, runtime.observer.note).tell, runtime.config.source.removal_wait):
        try:
            if left or killed:
                tasks.settle(managed)
            removed = snapshots.remove_all_ours(managed, owner(engine))
            if consolidation.consolidate(managed):
                step.log(EventKind.CONSOLIDATED)
        except StillRunningError as error:
            if error.code is ErrorCode.VM_ASKS:
                raise
            raise BusyError(
                f"an earlier snapshot of {vm.name} is not removed yet",
                error.why,
                "wait for that task, then run the command again",
                code=ErrorCode.REMOVAL_PENDING,
                facts={"vm": vm.name},
            ) from None

    leftover.closed(engine, vm.uuid)
    if left:
        step.log(EventKind.REMOVAL_FINISHED)
    return removed
