"""The source's shutdown: what vSphere answers to it, and what comes of that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere import power
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, BusyError, PreconditionError

State = vim.VirtualMachine.PowerState
REFUSALS = [
    vmodl.fault.SystemError(reason="vix error codes = (21009, 0)"),
    vmodl.fault.NotSupported(),
    vim.fault.ToolsUnavailable(),
    vim.fault.InvalidState(),
    vim.fault.NoPermission(privilegeId="VirtualMachine.Interact.PowerOff"),
    vim.fault.TaskInProgress(),
]


class Machine:
    """A machine that runs, and answers ShutdownGuest with a fault."""

    name = "web01"

    def __init__(self, refusal: Exception) -> None:
        self.runtime = SimpleNamespace(powerState=State.poweredOn)
        self._refusal = refusal

    def ShutdownGuest(self) -> None:
        raise self._refusal

    def PowerOffVM_Task(self) -> Any:
        self.runtime.powerState = State.poweredOff
        return None


@pytest.fixture(autouse=True)
def _tasks_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "wait", lambda task: task)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda fault: type(fault).__name__)
def test_power_off_applies_to_every_refusal(refusal: Exception) -> None:
    machine = Machine(refusal)
    assert power.shut_down(machine, 1.0, power_off=True) == "power off"
    assert power.is_off(machine)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda fault: type(fault).__name__)
def test_without_it_the_machine_runs_on(refusal: Exception) -> None:
    machine = Machine(refusal)
    busy = isinstance(refusal, vim.fault.TaskInProgress)
    with pytest.raises(BusyError if busy else PreconditionError) as raised:
        power.shut_down(machine, 1.0, power_off=False)
    assert raised.value.code is (ErrorCode.VM_BUSY if busy else ErrorCode.SOURCE_RUNS)
    assert not power.is_off(machine)


def test_an_ended_session_is_no_answer_of_the_guest() -> None:
    machine = Machine(vim.fault.NotAuthenticated())
    with pytest.raises(AuthError) as raised:
        power.shut_down(machine, 1.0, power_off=True)
    assert raised.value.code is ErrorCode.VCENTER_SESSION_ENDED
    assert not power.is_off(machine)
