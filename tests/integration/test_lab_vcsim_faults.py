"""What a client sees when the lab's vCenter does what real ones do on bad days (tests/lab/vcsim/README.md)."""

import contextlib
import http.client
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyVim.connect import Disconnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from tests.integration.simulator import PASSWORD, USER, LabVcsim, certificate, machine, started

MIB = 1 << 20
BROKEN = (OSError, http.client.HTTPException)

INVENTORY = {
    "vms": [
        machine("web01", [4 * MIB], cbt=True),
        machine("doomed", [MIB]),
        machine("other", [MIB]),
        machine("50% of a/b\\c", [MIB]),
        machine(
            "router", [MIB], nics=[{"ip": "192.0.2.1", "vlans": ["198.51.100.1", "203.0.113.1"]}, {"ip": "192.0.2.2"}]
        ),
    ]
}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabVcsim]:
    with started(tmp_path_factory.mktemp("vcsim"), INVENTORY) as lab:
        yield lab


@pytest.fixture
def lab(simulator: LabVcsim) -> Iterator[LabVcsim]:
    yield simulator
    simulator.mend()


@pytest.fixture
def client(lab: LabVcsim) -> Iterator[Any]:
    """A session of its own; ours is for the lab's use."""
    instance = lab.login()
    yield instance
    lab.mend()
    with contextlib.suppress(Exception):
        Disconnect(instance)


def find(instance: Any, name: str) -> Any:
    return instance.RetrieveContent().searchIndex.FindByInventoryPath(f"DC0/vm/{name}")


def snap(vm: Any) -> Any:
    task = vm.CreateSnapshot_Task(name="one", description="", memory=False, quiesce=False)
    WaitForTask(task)
    return task.info.result


def log_in_again(instance: Any) -> None:
    instance.RetrieveContent().sessionManager.Login(USER, PASSWORD)


def test_answers_of_the_proxy(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    lab.fault("status", "RetrieveServiceContent", max=1)
    with pytest.raises(vim.fault.HostConnectFault, match="503"):  # pyVmomi's own name for it, at a login
        lab.login()
    lab.fault("status", "Fetch", object="web01", property="runtime", status=408)
    assert vm.name == "web01"
    with pytest.raises(http.client.HTTPException, match="408"):
        _ = vm.runtime
    assert find(client, "other").runtime.powerState == "poweredOn"
    lab.mend()
    assert vm.runtime.powerState == "poweredOn"


def test_a_cut_connection_before_and_after_the_work(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    lab.fault("cut", "CreateSnapshot_Task", max=1)
    with pytest.raises(BROKEN):
        snap(vm)
    assert vm.snapshot is None
    lab.fault("cut", "CreateSnapshot_Task", after=True, max=1)
    with pytest.raises(BROKEN):
        snap(vm)
    until(lambda: vm.snapshot is not None)
    lab.fault("torn", "CurrentTime", max=1)
    with pytest.raises(Exception, match=r"."):  # pyVmomi's parser has many errors for half a document
        client.CurrentTime()
    WaitForTask(vm.RemoveAllSnapshots_Task())


def test_an_answer_later_than_the_clients_time_out(lab: LabVcsim) -> None:
    hasty = lab.login(timeout=0.5)
    vm = find(hasty, "web01")
    lab.fault("late", "CreateSnapshot_Task", seconds=1.5, max=1)
    with pytest.raises(TimeoutError):
        snap(vm)
    until(lambda: vm.snapshot is not None)
    WaitForTask(vm.RemoveAllSnapshots_Task())
    Disconnect(hasty)


def test_a_session_that_ends_at_a_call(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    lab.fault("session-ended", "CreateSnapshot_Task", skip=1, max=1)
    snapshot = snap(vm)
    view = client.content.viewManager.CreateContainerView(client.content.rootFolder, [vim.VirtualMachine], True)
    with pytest.raises(vim.fault.NotAuthenticated):
        snap(vm)
    with pytest.raises(vim.fault.NotAuthenticated):
        _ = vm.name
    log_in_again(client)
    assert vm.name == "web01"
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = view.view
    with pytest.raises(vmodl.query.InvalidCollectorVersion):
        client.content.propertyCollector.WaitForUpdates("1")
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))


def test_who_waits_for_updates_hears_that_the_session_ended(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    collector = client.content.propertyCollector
    spec = vmodl.query.PropertyCollector.FilterSpec(
        propSet=[vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, pathSet=["name"])],
        objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=vm)],
    )
    collector.CreateFilter(spec, partialUpdates=False)
    version = collector.WaitForUpdates("").version
    ended = threading.Timer(0.3, lambda: lab.http.delete("/lab/sessions"))
    ended.start()
    with pytest.raises(vmodl.fault.RequestCanceled):
        collector.WaitForUpdates(version)
    ended.join()


def test_sessions_last_so_long_and_are_so_many(lab: LabVcsim, client: Any) -> None:
    lab.switch(session_limit=len(lab.http.get("/lab/sessions").json()["sessions"]))
    with pytest.raises(vim.fault.HostConnectFault, match="503"):  # pyVmomi's own name for it, at a login
        lab.login()
    assert client.CurrentTime()
    lab.switch(session_seconds=0.01, session_limit=0)
    time.sleep(0.02)
    with pytest.raises(vim.fault.NotAuthenticated):
        client.CurrentTime()


def test_a_restart_of_vpxd(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    task = vm.CreateSnapshot_Task(name="one", description="", memory=False, quiesce=False)
    WaitForTask(task)
    lab.fault("down", "RemoveAllSnapshots_Task", seconds=60, max=1, restart=True, forget_tasks=True)
    with pytest.raises(http.client.HTTPException, match="503"):
        vm.RemoveAllSnapshots_Task()
    with pytest.raises(BROKEN):
        client.CurrentTime()
    lab.mend()  # ends it early
    with pytest.raises(vim.fault.NotAuthenticated):
        _ = vm.name
    log_in_again(client)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = task.info
    WaitForTask(vm.RemoveAllSnapshots_Task())


def test_calls_are_listed_one_by_one(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "other")
    next_one = lab.calls()["next"]
    lab.fault("late", "CreateSnapshot_Task", seconds=0.01, max=1)
    WaitForTask(snap(vm).RemoveSnapshot_Task(removeChildren=False))
    _ = vm.runtime.powerState
    calls = lab.calls(next_one)["calls"]
    of_the_machine = [(c["method"], c.get("properties"), c.get("mode")) for c in calls if c.get("vm") == "other"]
    assert ("CreateSnapshot_Task", None, "late") in of_the_machine
    assert ("RemoveSnapshot_Task", None, None) in of_the_machine
    assert ("Fetch", ["runtime"], None) in of_the_machine
    assert [c["n"] for c in calls] == list(range(next_one, next_one + len(calls)))
    assert [f["hits"] for f in lab.http.get("/lab/faults").json()["faults"]] == [1]


def test_a_machine_deleted_in_the_middle(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "doomed")
    snapshot = snap(vm)
    lab.fault("vm-deleted", "RemoveSnapshot_Task", max=1)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        snapshot.RemoveSnapshot_Task(removeChildren=False)
    with pytest.raises(vmodl.fault.ManagedObjectNotFound):
        _ = vm.runtime
    assert find(client, "doomed") is None


def test_a_silent_task(lab: LabVcsim) -> None:
    hasty = lab.login(timeout=0.5)
    vm = find(hasty, "web01")
    lab.fault("slow-task", "CreateSnapshot_Task", object="web01", seconds=60, max=1)
    task = vm.CreateSnapshot_Task(name="one", description="", memory=False, quiesce=False)
    with pytest.raises(TimeoutError):  # no update comes for longer than the connection waits
        WaitForTask(task)
    assert (task.info.state, task.info.progress) == ("running", None)
    assert vm.snapshot is None
    with pytest.raises(vim.fault.TaskInProgress) as refused:
        WaitForTask(vm.PowerOffVM_Task())
    assert refused.value.task == task
    with pytest.raises(vim.fault.TaskInProgress):
        vm.ShutdownGuest()
    with pytest.raises(vmodl.fault.NotSupported):
        task.CancelTask()
    lab.mend()  # ends it early
    until(lambda: task.info.state == "success")
    assert vm.snapshot.currentSnapshot == task.info.result
    Disconnect(hasty)


def test_a_removal_that_goes_on_when_the_snapshot_has_gone_from_the_tree(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    lab.fault("slow-task", "RemoveAllSnapshots_Task", seconds=20, after=True, progress=True)
    task = vm.RemoveAllSnapshots_Task()
    until(lambda: vm.snapshot is None)
    until(lambda: task.info.progress is not None)
    assert task.info.state == "running"
    lab.mend()
    WaitForTask(task)


def test_updates_that_come_at_the_limit_only(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    collector = client.content.propertyCollector
    spec = vmodl.query.PropertyCollector.FilterSpec(
        propSet=[vmodl.query.PropertyCollector.PropertySpec(type=vim.VirtualMachine, pathSet=["snapshot"])],
        objectSet=[vmodl.query.PropertyCollector.ObjectSpec(obj=vm)],
    )
    collector.CreateFilter(spec, partialUpdates=False)
    options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=1)
    version = collector.WaitForUpdatesEx("", options).version
    lab.fault("at-limit", "WaitForUpdatesEx")
    WaitForTask(snap(vm).RemoveSnapshot_Task(removeChildren=False))
    began = time.monotonic()
    assert collector.WaitForUpdatesEx(version, options).filterSet
    assert time.monotonic() - began > 0.9


def test_a_question_blocks_a_task_until_it_is_answered(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "other")
    WaitForTask(vm.PowerOffVM_Task())
    lab.fault("question", "PowerOnVM_Task", object="other", max=1)
    task = vm.PowerOnVM_Task()
    until(lambda: vm.runtime.question is not None)
    question = vm.runtime.question
    assert [choice.key for choice in question.choice.choiceInfo] == ["0", "1", "2"]
    assert (task.info.state, vm.runtime.powerState) == ("running", "poweredOff")
    with pytest.raises(vmodl.fault.InvalidArgument):
        vm.AnswerVM(question.id, "yes")
    vm.AnswerVM(question.id, "2")
    WaitForTask(task)
    assert vm.runtime.powerState == "poweredOn"
    until(lambda: vm.runtime.question is None)


def test_disks_in_need_of_consolidation(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    lab.fault("consolidation-needed", "RemoveSnapshot_Task", object="web01", max=1)
    lab.fault(method="ConsolidateVMDisks_Task", fault="FileLocked", task=True, max=1)
    lab.fault("slow-task", "ConsolidateVMDisks_Task", seconds=0.1)
    snapshot = snap(vm)
    lab.write("web01", 100, b"written to the delta")
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))
    assert vm.snapshot is None
    assert vm.runtime.consolidationNeeded
    disk = next(d for d in vm.config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk))
    assert disk.backing.parent is not None
    with pytest.raises(vim.fault.FileLocked):
        WaitForTask(vm.ConsolidateVMDisks_Task())
    assert vm.runtime.consolidationNeeded
    WaitForTask(vm.ConsolidateVMDisks_Task())
    assert not vm.runtime.consolidationNeeded
    assert lab.flat("web01")[100:120] == b"written to the delta"


def test_a_shutdown_refused_though_the_tools_run(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "other")
    assert vm.guest.toolsRunningStatus == "guestToolsRunning"
    for fault, seen in [
        ("SystemError", vmodl.fault.SystemError),
        ("ToolsUnavailable", vim.fault.ToolsUnavailable),
        ("InvalidPowerState", vim.fault.InvalidPowerState),
    ]:
        lab.fault(method="ShutdownGuest", object="other", fault=fault, max=1)
        with pytest.raises(seen):
            vm.ShutdownGuest()
    assert vm.runtime.powerState == "poweredOn"


def disk_of(config: Any) -> Any:
    return next(d for d in config.hardware.device if isinstance(d, vim.vm.device.VirtualDisk))


def test_all_that_is_allocated_cannot_be_had(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    lab.write("web01", 0, b"x")
    snapshot = snap(vm)
    areas = vm.QueryChangedDiskAreas(snapshot, 2000, 0, "*").changedArea
    assert areas[0].length < 4 * MIB
    lab.switch(allocated="whole")
    assert [(a.start, a.length) for a in vm.QueryChangedDiskAreas(snapshot, 2000, 0, "*").changedArea] == [(0, 4 * MIB)]
    lab.switch(allocated="none")
    nothing = vm.QueryChangedDiskAreas(snapshot, 2000, 0, "*")
    assert (nothing.changedArea, nothing.length) == ([], 4 * MIB)
    lab.switch(allocated="refused")
    with pytest.raises(vim.fault.FileFault, match="/vmfs/volumes/"):
        vm.QueryChangedDiskAreas(snapshot, 2000, 0, "*")
    since = disk_of(snapshot.config).backing.changeId
    assert vm.QueryChangedDiskAreas(snapshot, 2000, 0, since).changedArea == []
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))


def test_change_ids_on_the_disks_of_snapshots_only(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    assert vm.config.changeTrackingEnabled
    assert disk_of(vm.config).backing.changeId is None
    snapshot = snap(vm)
    assert disk_of(snapshot.config).backing.changeId
    assert disk_of(vm.config).backing.changeId is None
    lab.switch(live_change_ids=True)
    assert disk_of(vm.config).backing.changeId
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))


def test_names_are_escaped(lab: LabVcsim, client: Any) -> None:
    [known] = [vm for vm in lab.http.get("/lab/vms").json()["vms"] if vm["dir"] == "50_ of a_b_c"]
    vm = find(client, known["name"])
    assert vm.name == known["name"] == "50%25 of a%2fb%5cc"
    assert vm.config.files.vmPathName == "[LocalDS_0] 50_ of a_b_c/50_ of a_b_c.vmx"
    WaitForTask(vm.CreateSnapshot_Task(name="1/2", description="", memory=False, quiesce=False))
    assert vm.snapshot.rootSnapshotList[0].name == "1%2f2"
    group = client.content.searchIndex.FindByInventoryPath("DC0/network/DC0_DVPG0")
    lab.http.put(f"/lab/properties/DistributedVirtualPortgroup/{group._GetMoId()}", json={"name": "v%2f10"})
    assert group.name == "v%2f10"
    WaitForTask(vm.RemoveAllSnapshots_Task())


def test_several_interfaces_on_one_card(client: Any) -> None:
    nets = find(client, "router").guest.net
    assert [list(net.ipAddress) for net in nets] == [["192.0.2.1"], ["198.51.100.1"], ["203.0.113.1"], ["192.0.2.2"]]
    assert [net.deviceConfigId for net in nets] == [4000, 4000, 4000, 4001]


def test_a_renewed_certificate(lab: LabVcsim, client: Any, tmp_path: Path) -> None:
    certificate(tmp_path)
    files = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
    lab.http.put("/lab/certificate", json=files).raise_for_status()
    try:
        assert client.CurrentTime()  # the connections that are there go on
        with pytest.raises(ssl.SSLCertVerificationError):
            lab.login()
    finally:
        lab.http.put("/lab/certificate", json=lab.certificate_files).raise_for_status()
    assert lab.login()


def test_a_datastore_that_fills_up_while_a_snapshot_is_open(lab: LabVcsim, client: Any) -> None:
    vm = find(client, "web01")
    [store] = vm.datastore
    before = store.summary.freeSpace
    lab.http.put("/lab/datastore", json={"free_bytes": MIB, "capacity_bytes": 64 * MIB}).raise_for_status()
    assert (store.summary.freeSpace, store.summary.capacity) == (MIB, 64 * MIB)
    snapshot = snap(vm)
    lab.write("web01", 0, b"x" * (MIB // 2))
    assert store.summary.freeSpace == MIB  # as old as the last refresh
    store.RefreshDatastore()
    assert store.summary.freeSpace == MIB // 2
    vm.RefreshStorageInfo()
    names = {file.key: (file.name, file.size) for file in vm.layoutEx.file}
    top = [names[key] for key in vm.layoutEx.disk[0].chain[-1].fileKey]
    assert top[1] == ("[LocalDS_0] web01/disk1-000001-delta.vmdk", MIB // 2)
    assert lab.http.put("/lab/vms/web01/disks/0", params={"offset": 0}, content=b"y" * 2 * MIB).status_code == 409
    until(lambda: vm.runtime.question is not None)
    assert vm.runtime.question.text.startswith("msg.hbacommon.outofspace")
    assert vm.runtime.powerState == "poweredOn"
    with pytest.raises(vim.fault.QuestionPending):
        WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))
    lab.http.delete("/lab/datastore").raise_for_status()
    assert store.summary.freeSpace == before
    vm.AnswerVM(vm.runtime.question.id, "0")
    until(lambda: vm.runtime.question is None)
    lab.write("web01", 0, b"y" * 2 * MIB)
    WaitForTask(snapshot.RemoveSnapshot_Task(removeChildren=False))


def until(true: Any) -> None:
    for _ in range(500):
        with contextlib.suppress(*BROKEN):  # pyVmomi notices a dead connection of its pool when it writes
            if true():
                return
        time.sleep(0.01)
    raise AssertionError("it never came about")
