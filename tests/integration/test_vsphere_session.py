"""The session layer against the simulator: each way in which a call goes wrong, at a call that reads and at one that
changes something, and at the login."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import vim, vmodl

from migratekit_core.adapters.vsphere import client, patience, power, snapshots
from migratekit_core.adapters.vsphere.inventory import find_vm, managed_object
from migratekit_core.adapters.vsphere.patience import CallMode, UnansweredError, in_mode
from migratekit_core.adapters.vsphere.tasks import wait
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, BusyError, MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.config.schema import VCenter
from tests.coded import raises
from tests.integration.simulator import certificate
from tests.integration.source import PASSWORD, Source, start

TIMEOUT = 0.4
BREAKS: dict[str, dict[str, Any]] = {
    "503": {"mode": "status", "status": 503},
    "408": {"mode": "status", "status": 408, "after": True},
    "a page": {"mode": "status", "status": 200, "text": "<html><br>It works!</html>"},
    "cut": {"mode": "cut", "after": True},
    "torn": {"mode": "torn"},
    "late": {"mode": "late", "seconds": 2 * TIMEOUT},
    "restart": {"mode": "down", "seconds": 0.6, "restart": True},
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    machine = {"name": "web01", "power": "on", "tools": "running", "disks": [{"size_bytes": 1 << 20}]}
    yield from start(tmp_path_factory.mktemp("vcenter"), {"vms": [machine]})


@pytest.fixture
def source(shared: Source) -> Iterator[Source]:
    yield shared
    shared.lab.clear_faults()


def settings(source: Source, **more: Any) -> VCenter:
    return source.settings().model_copy(update={"timeout": TIMEOUT, **more})


@contextmanager
def machine(source: Source, **more: Any) -> Iterator[Any]:
    with client.connect(settings(source, **more)) as service:
        yield managed_object(service, find_vm(service, "web01"))


def counted(source: Source, method: str, since: int) -> int:
    return sum(row["method"] == method for row in source.lab.calls(since)["calls"])


@pytest.mark.parametrize("broken", list(BREAKS))
def test_what_only_reads_is_asked_again(source: Source, broken: str) -> None:
    with machine(source) as vm:
        source.lab.fault(**BREAKS[broken], method="Fetch", property="runtime", max=1)
        assert vm.runtime.powerState == "poweredOn"
    assert source.lab.faults()[0]["hits"] >= 1


@pytest.mark.parametrize("broken", list(BREAKS))
def test_without_patience_it_is_an_error_of_ours(source: Source, broken: str) -> None:
    with machine(source, patience=0) as vm:
        source.lab.fault(**BREAKS[broken], method="Fetch", property="runtime", max=1)
        with raises(UnreachableError, ErrorCode.VCENTER_UNREACHABLE):
            _ = vm.runtime
    assert source.lab.faults()[0]["hits"] >= 1


@pytest.mark.parametrize("broken", list(BREAKS))
def test_what_changes_something_is_sent_once(source: Source, broken: str) -> None:
    """Whether it was done, the caller looks: the session does not guess."""
    with machine(source) as vm:
        since = source.lab.calls()["next"]
        source.lab.fault(**BREAKS[broken], method="ReconfigVM_Task", max=1)
        with raises(UnansweredError, ErrorCode.VCENTER_UNREACHABLE):
            vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="seen"))
        assert counted(source, "ReconfigVM_Task", since) == 1


def test_a_session_that_has_ended_is_begun_anew(source: Source) -> None:
    with machine(source, patience=0) as vm:
        since = source.lab.calls()["next"]
        source.lab.fault(mode="session-ended", method="ReconfigVM_Task", max=1)
        wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="after")))
        assert vm.config.annotation == "after"
        assert counted(source, "Login", since) == 1


def test_threads_log_in_once_for_all(source: Source) -> None:
    with machine(source) as vm, ThreadPoolExecutor(6) as pool:
        together = threading.Barrier(6)
        since = source.lab.calls()["next"]
        source.lab.http.delete("/lab/sessions").raise_for_status()
        before = pool.map(lambda _: (together.wait(), vm.name)[1], range(6))
        assert list(before) == ["web01"] * 6
        assert counted(source, "Login", since) == 1


def test_a_session_that_ends_at_every_call_is_an_error(source: Source) -> None:
    with machine(source, patience=0) as vm:
        source.lab.fault(mode="session-ended", method="Fetch")
        with raises(AuthError, ErrorCode.VCENTER_SESSION_ENDED):
            _ = vm.name


def test_the_password_is_read_anew(source: Source) -> None:
    file = source.config.parent / "vcenter.pass"
    with machine(source) as vm:
        file.write_text("changed meanwhile")
        source.lab.http.delete("/lab/sessions").raise_for_status()
        try:
            with raises(AuthError, ErrorCode.VCENTER_LOGIN_REFUSED):
                _ = vm.name
        finally:
            file.write_text(PASSWORD)
        assert vm.name == "web01"


def test_undoing_waits_and_says_so(source: Source) -> None:
    said: list[str] = []
    with machine(source, timeout=2.0) as vm:
        source.lab.fault(mode="down", seconds=3, restart=True, method="Fetch", property="name", max=1)
        with in_mode(CallMode(undoing=True, note=said.append)):
            assert vm.name == "web01"
    assert len(said) == 1


@pytest.mark.parametrize(
    ("rule", "kind", "code"),
    [
        ({"mode": "status", "status": 503}, UnreachableError, ErrorCode.VCENTER_UNREACHABLE),
        ({"mode": "status", "status": 404, "text": "<html>"}, UnreachableError, ErrorCode.VCENTER_UNREACHABLE),
        ({"mode": "status", "status": 200, "text": "<html>"}, UnreachableError, ErrorCode.VCENTER_UNREACHABLE),
        ({"method": "Login", "fault": "NoPermission"}, AuthError, ErrorCode.VCENTER_PRIVILEGE_MISSING),
        ({"method": "RetrieveServiceContent", "fault": "SystemError"}, UnreachableError, ErrorCode.VCENTER_UNREACHABLE),
        ({"method": "Login", "fault": "SystemError"}, UnreachableError, ErrorCode.VCENTER_UNREACHABLE),
        ({"method": "Login", "fault": "HostConnectFault"}, UnreachableError, ErrorCode.VCENTER_UNREACHABLE),
        ({"method": "Login", "fault": "InvalidLogin"}, AuthError, ErrorCode.VCENTER_LOGIN_REFUSED),
    ],
)
def test_what_a_login_may_end_with(
    source: Source, rule: dict[str, Any], kind: type[MigrateKitError], code: ErrorCode
) -> None:
    source.lab.fault(**{"method": "*", **rule})
    with raises(kind, code), machine(source, patience=0):
        pytest.fail("it logged in")


@pytest.mark.parametrize("call", ["GET /sdk", "RetrieveServiceContent", "Login"])
@pytest.mark.parametrize("broken", ["503", "cut", "late", "restart"])
def test_a_first_login_is_tried_again(source: Source, monkeypatch: pytest.MonkeyPatch, broken: str, call: str) -> None:
    """Also where vCenter has carried it out: one more session, which ends by itself."""
    monkeypatch.setattr(patience, "FIRST_LOGIN_PAUSES", (0.1, 0.5, 1.0))
    said: list[str] = []
    source.lab.fault(**BREAKS[broken], method=call, max=1)
    with client.connect(settings(source), said.append) as service:
        assert find_vm(service, "web01").name == "web01"
    assert source.lab.faults()[0]["hits"] >= 1
    assert len(said) == 1, "at once, and once"


@pytest.mark.parametrize("call", ["RetrieveServiceContent", "Login"])
def test_a_first_login_waits_for_a_vcenter_that_is_not_ready(
    source: Source, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(patience, "FIRST_LOGIN_PAUSES", (0.1,))
    said: list[str] = []
    source.lab.fault(fault="SystemError", method=call, max=1)
    with client.connect(settings(source), said.append) as service:
        assert find_vm(service, "web01").name == "web01"
    assert len(said) == 1


def test_a_first_login_is_tried_in_vain(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_LOGIN_PAUSES", (0.0, 0.0, 0.0))
    since = source.lab.calls()["next"]
    source.lab.fault(mode="cut", after=True, method="Login")
    with raises(UnreachableError, ErrorCode.VCENTER_UNREACHABLE), machine(source):
        pytest.fail("it logged in")
    assert counted(source, "Login", since) == 4


def test_a_password_that_is_refused_is_sent_once(source: Source) -> None:
    since = source.lab.calls()["next"]
    source.lab.fault(method="Login", fault="InvalidLogin")
    with raises(AuthError, ErrorCode.VCENTER_LOGIN_REFUSED), machine(source):
        pytest.fail("it logged in")
    assert counted(source, "Login", since) == 1


def test_a_vcenter_that_has_just_started_is_not_ready(source: Source) -> None:
    """It answers, and knows nothing of its hosts yet: who takes something back waits, others are told."""
    with machine(source) as vm:
        source.lab.fault(method="Fetch", fault="HostNotConnected", max=2)
        with pytest.raises(vmodl.fault.HostNotConnected):
            _ = vm.name
        with in_mode(CallMode(undoing=True)):
            assert vm.name == "web01"


def test_a_certificate_that_was_renewed(source: Source, tmp_path: Path) -> None:
    certificate(tmp_path)
    both = tmp_path / "both.pem"
    both.write_text((tmp_path / "cert.pem").read_text() + (tmp_path / "key.pem").read_text())
    old = source.config.parent / "vcenter-pki"
    with machine(source) as vm:
        source.lab.renew_certificate(both)
        try:
            vm._stub.DropConnections()
            with raises(UnreachableError, ErrorCode.VCENTER_UNTRUSTED):
                _ = vm.name
        finally:
            server = next(
                file for file in old.rglob("*.pem") if "PRIVATE" in file.read_text() and "vcenter" in file.name
            )
            source.lab.renew_certificate(server)
        assert vm.name == "web01"


@pytest.mark.parametrize("broken", ["503", "408", "late", "forgotten", "not done"])
def test_a_change_without_an_answer_is_looked_for(source: Source, broken: str) -> None:
    """One snapshot, whether the call was carried out or not; and none once it is removed, however that goes."""
    more = {"forgotten": {**BREAKS["restart"], "forget_tasks": True}, "not done": {"mode": "cut"}}
    rule = {**BREAKS, **more}[broken]
    with machine(source) as vm:
        source.lab.fault(**rule, method="CreateSnapshot_Task", max=1)
        taken = snapshots.create(vm, f"migratekit-job-{broken}", "test")
        assert len(source.lab.vm("web01")["snapshots"]) == 1
        source.lab.clear_faults()
        source.lab.fault(**rule, method="RemoveSnapshot_Task", max=1)
        assert snapshots.remove(vm, taken._moId)
        assert source.lab.vm("web01")["snapshots"] == []
        assert not snapshots.remove(vm, taken._moId)
    assert source.lab.faults()[0]["hits"] >= 1


@pytest.mark.parametrize("broken", ["503", "cut"])
def test_power_without_an_answer(source: Source, broken: str) -> None:
    with machine(source) as vm:
        source.lab.fault(**BREAKS[broken], method="ShutdownGuest", max=1)
        assert power.shut_down(vm, 10, False) == "guest"
        source.lab.clear_faults()
        source.lab.fault(**BREAKS[broken], method="PowerOnVM_Task", max=1)
        assert power.start(vm)
        source.lab.clear_faults()
        source.lab.fault(method="ShutdownGuest", fault="ToolsUnavailable")
        source.lab.fault(**BREAKS[broken], method="PowerOffVM_Task", max=1)
        assert power.shut_down(vm, 10, True) == "power off"
        source.lab.clear_faults()
        assert power.start(vm)


REFUSALS = {
    "SystemError": (PreconditionError, ErrorCode.SOURCE_RUNS),
    "ToolsUnavailable": (PreconditionError, ErrorCode.SOURCE_RUNS),
    "InvalidPowerState": (PreconditionError, ErrorCode.SOURCE_RUNS),
    "NotSupported": (PreconditionError, ErrorCode.SOURCE_RUNS),
    "NoPermission": (PreconditionError, ErrorCode.SOURCE_RUNS),
    "HostNotConnected": (PreconditionError, ErrorCode.SOURCE_RUNS),
    "TaskInProgress": (BusyError, ErrorCode.VM_BUSY),
    "ConcurrentAccess": (BusyError, ErrorCode.VM_BUSY),
}


@pytest.mark.parametrize("fault", list(REFUSALS))
def test_a_guest_that_may_not_be_asked_to_shut_down(source: Source, fault: str) -> None:
    """Though its tools run. It goes on running, unless the operator said that it may be powered off."""
    kind, code = REFUSALS[fault]
    with machine(source) as vm:
        source.lab.fault(method="ShutdownGuest", fault=fault)
        with raises(kind, code):
            power.shut_down(vm, 10, False)
        assert source.lab.vm("web01")["power"] == "on"
        assert power.shut_down(vm, 10, True) == "power off"
        assert source.lab.vm("web01")["power"] == "off"
        source.lab.clear_faults()
        assert power.start(vm)


def test_a_busy_machine_is_waited_for_only_to_take_something_back(source: Source) -> None:
    with machine(source) as vm:
        taken = snapshots.create(vm, "migratekit-job", "test")
        source.lab.fault(method="RemoveSnapshot_Task", fault="TaskInProgress", max=1)
        with raises(BusyError, ErrorCode.VM_BUSY):
            snapshots.remove(vm, taken._moId)
        source.lab.clear_faults()
        source.lab.fault(method="RemoveSnapshot_Task", fault="TaskInProgress", max=2)
        with in_mode(CallMode(undoing=True)):
            assert snapshots.remove(vm, taken._moId)
