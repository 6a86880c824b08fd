"""Calls that change a machine. A call without an answer may have been carried out, or its task may still work: whoever
makes it anew without looking has two snapshots."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere import tasks
from migratekit_core.adapters.vsphere.patience import UnansweredError, call_mode
from migratekit_core.common.errors import MigrateKitError
from migratekit_core.common.patience import QUIET_SECONDS, growing

T = TypeVar("T")

PASSING = (
    vim.fault.TaskInProgress,
    vim.fault.ConcurrentAccess,
    vim.fault.FileLocked,
    vim.fault.Timedout,
    vim.fault.HostConnectFault,
    vmodl.fault.HostCommunication,
    vmodl.fault.RequestCanceled,
    vmodl.fault.SystemError,
)
"""What a machine that somebody works on says, or a vCenter that has just started and has not found its hosts again."""
POLL_SECONDS = 0.5


def carry_out(vm: Any, ask: Callable[[], T], look: Callable[[], T | None]) -> T:
    """Return what `ask` returns, a call that changes `vm` and the wait for its task.

    Where its answer is lost, what the machine works on is waited for, and then what `look` finds is the answer; where
    that is None, it was not carried out, and is asked for again, within the connection's patience. While something is
    taken back (`CallMode.undoing`), so is what vSphere refuses for the moment. Raises what `ask` raises otherwise.
    """
    began, unanswered, said = time.monotonic(), False, False
    for attempt in count(1):
        try:
            if attempt > 1:
                tasks.settle(vm)
                found = look()
                if found is not None:
                    return found
            return ask()
        except (UnansweredError, vim.fault.NotAuthenticated) as error:
            unanswered, last = True, error
        except PASSING as fault:
            if not (unanswered or call_mode().undoing):
                raise
            last = fault
        waited, note = time.monotonic() - began, call_mode().note
        if note is not None and not said and waited >= QUIET_SECONDS:
            said = True
            note(f"waiting until the machine can be changed: {_text(last)}")
        if waited >= vm._stub.patience() or tasks.overdue():
            raise last
        time.sleep(growing(attempt, POLL_SECONDS, 15.0))
    raise AssertionError("count does not end")


def _text(error: Exception) -> str:
    from migratekit_core.adapters.vsphere.client import fault_text

    return error.why if isinstance(error, MigrateKitError) else fault_text(error)
