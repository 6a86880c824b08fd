"""Waits for vSphere's tasks. One may run for hours without a sign: it is waited for as long as it is said to run.

What a task is doing is asked again and again, each time in a call of its own, so no connection, no session and no proxy
in between has to last as long as the task does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.patience import UnansweredError, call_mode, in_mode
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError
from migratekit_core.common.patience import QUIET_SECONDS, growing
from migratekit_core.common.redact import redact

AT_WORK = ("queued", "running")
POLL_SECONDS = 0.05
SLOWEST_SECONDS = 2.0
"""Between two questions how far a task is; the first come sooner."""
QUESTION_SECONDS = 5.0
"""Between two looks whether the machine asks something."""
MOST_TEXT = 1000
"""Characters that are kept of what a machine asks."""


@dataclass(frozen=True)
class Question:
    """What a machine asks in vCenter; until somebody answers there, its tasks go no further."""

    text: str
    choices: tuple[str, ...]


@dataclass(frozen=True)
class Waiting:
    """A task that is waited for."""

    task: str
    """What kind it is, in vSphere's words: `VirtualMachine.removeSnapshot`."""
    progress: int | None
    """Per cent; None where vSphere does not say."""
    seconds: float
    """Since it is waited for."""
    question: Question | None
    """What it waits for itself."""


class StillRunningError(BusyError):
    """A task is at work, and is not waited for any longer."""


@dataclass(frozen=True)
class Watch:
    """How the tasks of a block are waited for."""

    tell: Callable[[Waiting], None] = lambda waiting: None
    """Told again and again of a task that takes longer than a moment."""
    until: float | None = None
    """When it is waited no longer (time.monotonic); None: as long as it runs."""

    @property
    def over(self) -> bool:
        """Return whether it is waited no longer."""
        return self.until is not None and time.monotonic() >= self.until


NOBODY = Watch()
_watch: ContextVar[Watch] = ContextVar("watch", default=NOBODY)


@contextmanager
def watched(tell: Callable[[Waiting], None], limit: float | None = None) -> Iterator[None]:
    """Have `tell` be told of the tasks that the block waits for, and wait for all of them together `limit` seconds."""
    token = _watch.set(Watch(tell, None if limit is None else time.monotonic() + limit))
    try:
        yield
    finally:
        _watch.reset(token)


def overdue() -> bool:
    """Return whether the block's tasks are not waited for any longer."""
    return _watch.get().over


def wait(task: Any) -> Any:
    """Wait for a task and return its result; the task's fault is raised as pyVmomi's.

    Raises UnansweredError where vCenter does not know the task any more, as after a restart, and StillRunningError
    where the time that `watched` gives is over.
    """
    info = follow(task)
    if info is None:
        raise UnansweredError(
            f"what came of {task._moId} is unknown",
            "vCenter does not know the task any more",
            "look at the machine in vCenter",
            code=ErrorCode.VCENTER_UNREACHABLE,
        )
    if info.state == vim.TaskInfo.State.error:
        raise info.error
    return info.result


def settle(vm: Any) -> None:
    """Wait until the machine works on nothing. Raises StillRunningError as `wait`."""
    for task in vm.recentTask:
        follow(task)


def follow(task: Any) -> Any:
    """Return a task's info when it has ended, None where vCenter does not know it (any more). Raises StillRunningError
    as `wait`."""
    began, asked, question, said = time.monotonic(), 0.0, None, False
    for attempt in count(1):
        try:
            # A vCenter that restarts is waited for as long as it may take: the task goes on without it.
            with in_mode(replace(call_mode(), undoing=True)):
                info = task.info
        except vmodl.fault.ManagedObjectNotFound:
            return None
        if info.state not in AT_WORK:
            return info
        waited, watch = time.monotonic() - began, _watch.get()
        if waited - asked >= QUESTION_SECONDS or watch.over:
            asked, question = waited, _question(info.entity)
        if waited >= QUIET_SECONDS:
            watch.tell(Waiting(str(info.descriptionId), info.progress, waited, question))
        if question is not None and watch is NOBODY and not said:
            said = True
            note = call_mode().note or getattr(task._stub, "note", None) or (lambda line: None)
            note(f"{info.entityName} asks something in vCenter, and its task waits for the answer: {question.text}")
        if watch.over:
            raise _still_running(info, question)
        time.sleep(growing(attempt, POLL_SECONDS, SLOWEST_SECONDS))
    raise AssertionError("count does not end")


def question_of(vm: Any) -> Question | None:
    """Return what a machine asks, bounded; None where it asks nothing. Raises pyVmomi's faults and our errors."""
    found = vm.runtime.question
    if found is None:
        return None
    choices = found.choice.choiceInfo if found.choice is not None else []
    return Question(
        redact(str(found.text))[:MOST_TEXT], tuple(redact(str(choice.label))[:MOST_TEXT] for choice in choices[:10])
    )


def _question(entity: Any) -> Question | None:
    if not isinstance(entity, vim.VirtualMachine):
        return None
    try:
        return question_of(entity)
    except (vmodl.MethodFault, MigrateKitError):  # how the task is, the next look tells
        return None


def _still_running(info: Any, question: Question | None) -> StillRunningError:
    progress = "" if info.progress is None else f" at {info.progress} %"
    if question is not None:
        return StillRunningError(
            f"{info.entityName} asks something, and a task waits for the answer",
            question.text,
            "answer it in the vSphere Client (the machine's summary), then run the command again",
            code=ErrorCode.VM_ASKS,
            facts={"vm": str(info.entityName), "question": question.text, "choices": " | ".join(question.choices)},
        )
    return StillRunningError(
        f"vSphere still works on {info.entityName}",
        f"its task {info.descriptionId} is {info.state}{progress}",
        "wait for that task, then run the command again",
        code=ErrorCode.VM_BUSY,
        facts={"vm": str(info.entityName), "task": str(info.descriptionId)},
    )
