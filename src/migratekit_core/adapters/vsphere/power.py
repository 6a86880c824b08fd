"""Stops the source, and starts it again where a failover is given back."""

from __future__ import annotations

import time
from typing import Any

from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere.changes import carry_out
from migratekit_core.adapters.vsphere.client import fault_text, faults
from migratekit_core.adapters.vsphere.patience import UnansweredError
from migratekit_core.adapters.vsphere.tasks import wait
from migratekit_core.common import failpoints as points
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.vsphere_names import shown

POLL_SECONDS = 1.0


def is_off(vm: Any) -> bool:
    """Return whether the machine is powered off."""
    return bool(vm.runtime.powerState == vim.VirtualMachine.PowerState.poweredOff)


def shut_down(vm: Any, timeout: float, power_off: bool) -> str:
    """Shut the guest down and wait until the machine is off; return how: `already off`, `guest` or `power off`.

    Where vSphere refuses to ask the guest, in whatever way, or the guest takes longer than `timeout` seconds, the
    machine is powered off only if `power_off` says so; otherwise PreconditionError is raised and the machine keeps
    running.
    """
    if is_off(vm):
        return "already off"
    reason = _ask_guest(vm, power_off)
    if not reason:
        if goes_off(vm, timeout):
            return "guest"
        reason = f"the guest did not shut down within {timeout:.0f} s"
    if not power_off:
        raise PreconditionError(
            f"{shown(vm.name)} was not shut down",
            reason,
            "shut it down by hand, or allow it with --power-off",
            code=ErrorCode.SOURCE_RUNS,
            facts={"vm": shown(vm.name)},
        )
    with faults(f"power off of {shown(vm.name)}"):
        try:
            with points.call("PowerOffVM"):
                carry_out(vm, lambda: wait(vm.PowerOffVM_Task()) or True, lambda: is_off(vm) or None)
        except vim.fault.InvalidPowerState:
            if not is_off(vm):  # it went down by itself in this very moment
                raise
    return "power off"


def goes_off(vm: Any, seconds: float) -> bool:
    """Return whether the machine is off within so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if is_off(vm):
            return True
        time.sleep(POLL_SECONDS)
    return False


def _ask_guest(vm: Any, power_off: bool) -> str:
    """Ask the guest to shut down; return why that cannot be done, or "".

    Raises BusyError for a machine that another task works on, unless it may be powered off.
    """
    unanswered = False
    with faults(f"shutdown of {shown(vm.name)}"):
        try:
            with points.call("ShutdownGuest"):
                try:
                    vm.ShutdownGuest()
                except UnansweredError:  # it may go down already; to be asked twice does a guest no harm
                    unanswered = True
                    if not is_off(vm):  # waits for vCenter
                        vm.ShutdownGuest()
        except UnansweredError:
            return ""  # whether it was asked shows in the end
        except vim.fault.NotAuthenticated:
            raise
        except vim.fault.ToolsUnavailable:
            # Tools end early in a guest that goes down.
            return "" if unanswered else "VMware Tools are not running in the guest"
        except vim.fault.InvalidPowerState:
            return "" if is_off(vm) else "the machine is not running (suspended?)"
        except vmodl.MethodFault as fault:
            if unanswered:
                return ""
            if isinstance(fault, (vim.fault.TaskInProgress, vim.fault.ConcurrentAccess)) and not power_off:
                raise
            # SystemError and others are known of guests whose tools run as they should.
            return f"vSphere refused to ask the guest: {fault_text(fault)}"
    return ""


def start(vm: Any) -> bool:
    """Power the machine on; return whether it was off."""
    if not is_off(vm):
        return False
    with faults(f"power on of {shown(vm.name)}"):
        try:
            with points.call("PowerOnVM"):
                carry_out(vm, lambda: wait(vm.PowerOnVM_Task()) or True, lambda: None if is_off(vm) else True)
        except vim.fault.InvalidPowerState:
            if is_off(vm):  # else somebody, or a run that was killed, has started it in this very moment
                raise
    return True
