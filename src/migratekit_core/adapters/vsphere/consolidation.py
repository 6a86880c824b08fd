"""Consolidation: a removed snapshot may leave its disks behind, and the machine goes on writing to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.changes import carry_out
from migratekit_core.adapters.vsphere.client import fault_text, faults
from migratekit_core.adapters.vsphere.patience import call_mode, in_mode
from migratekit_core.adapters.vsphere.tasks import wait
from migratekit_core.common import failpoints as points
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.vsphere_names import shown


def needed(vm: Any) -> bool:
    """Return whether vSphere asks to consolidate the machine's disks."""
    return bool(vm.runtime.consolidationNeeded)


def consolidate(vm: Any) -> bool:
    """Consolidate the machine's disks where that is needed; return whether it was.

    Files that somebody has locked (a backup, another task) are waited for as the connection's patience for undoing
    allows. Raises PreconditionError where it is refused, or needed still; StillRunningError as tasks.wait.
    """
    if not needed(vm):
        return False
    with faults(f"consolidation of {shown(vm.name)}"):
        try:
            with in_mode(replace(call_mode(), undoing=True)), points.call("ConsolidateVMDisks"):
                carry_out(vm, lambda: wait(vm.ConsolidateVMDisks_Task()) or True, lambda: None if needed(vm) else True)
        except (vmodl.fault.ManagedObjectNotFound, vmodl.fault.SecurityError, vim.fault.QuestionPending):
            raise
        except vmodl.MethodFault as fault:
            raise _refused(shown(vm.name), fault_text(fault)) from None
    if needed(vm):
        raise _refused(shown(vm.name), "vSphere has done so, and asks for it again")
    return True


def _refused(name: str, why: str) -> PreconditionError:
    return PreconditionError(
        f"the disks of {name} need consolidation, and cannot be consolidated",
        why,
        "look what holds the files (a backup, another host), consolidate in vCenter, then run the command again",
        code=ErrorCode.CONSOLIDATION_NEEDED,
        facts={"vm": name},
    )
