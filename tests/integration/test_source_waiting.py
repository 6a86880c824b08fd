"""Waiting for vSphere's tasks, in the simulator: what breaks meanwhile, what they tell, and when nobody waits on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyVmomi import vim

from migratekit_core.adapters.vsphere import cbt, client, consolidation, snapshots, space, tasks
from migratekit_core.adapters.vsphere.inventory import find_vm, managed_object
from migratekit_core.adapters.vsphere.tasks import StillRunningError, Waiting
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from tests.coded import raises
from tests.integration.source import Source, start

NAME = "migratekit-0123456789ab-0aa4d8a2-54f5-4e06-8f31-0d7bd54fd6f0"
TIMEOUT = 0.4
MEANWHILE: dict[str, dict[str, Any]] = {
    "the session ends": {"mode": "session-ended"},
    "408": {"mode": "timeout", "seconds": 0.05, "status": 408},
    "cut": {"mode": "cut", "after": True},
    "restart": {"mode": "down", "seconds": 0.6, "restart": True},
}
MIB = 1 << 20


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    machine = {"name": "web01", "power": "on", "tools": "running", "disks": [{"size_bytes": 4 * MIB}], "cbt": True}
    yield from start(tmp_path_factory.mktemp("vcenter"), {"vms": [machine]})


@pytest.fixture
def source(shared: Source) -> Iterator[Source]:
    yield shared
    shared.lab.clear_faults()
    with machine(shared) as vm:
        tasks.settle(vm)
        for _, name in list(snapshots.made(vm)):
            snapshots.remove_named(vm, name)
        consolidation.consolidate(vm)


@contextmanager
def machine(source: Source, **more: Any) -> Iterator[Any]:
    settings = source.settings().model_copy(update={"timeout": TIMEOUT, **more})
    with client.connect(settings) as service:
        yield managed_object(service, find_vm(service, "web01"))


@pytest.mark.parametrize("broken", list(MEANWHILE))
def test_a_task_is_waited_for_whatever_breaks_meanwhile(source: Source, broken: str) -> None:
    with machine(source) as vm:
        # Silent for six times as long as a call may take.
        source.lab.fault(mode="slow-task", method="CreateSnapshot_Task", seconds=6 * TIMEOUT, max=1)
        source.lab.fault(**MEANWHILE[broken], method="Fetch", type="Task", skip=2, max=2)
        taken = snapshots.create(vm, NAME, "test")
        assert [found._moId for found, _ in snapshots.made(vm)] == [taken._moId]
    assert next(rule for rule in source.lab.faults() if rule["method"] == "Fetch")["hits"] >= 2


def test_progress_is_told_and_a_limit_is_kept(source: Source) -> None:
    told: list[Waiting] = []
    with machine(source) as vm:
        taken = snapshots.create(vm, NAME, "test")
        source.lab.fault(mode="slow-task", method="RemoveSnapshot_Task", seconds=20, progress=True, max=1)
        with raises(StillRunningError, ErrorCode.VM_BUSY), tasks.watched(told.append, limit=4):
            snapshots.remove(vm, taken._moId)
        assert {each.task for each in told} == {"VirtualMachine.removeSnapshot"}
        assert told[-1].progress is not None
        # It goes on, and whoever comes next finds it at work.
        with raises(StillRunningError, ErrorCode.VM_BUSY), tasks.watched(told.append, limit=0):
            tasks.settle(vm)
        source.lab.clear_faults()
        tasks.settle(vm)
        assert list(snapshots.made(vm)) == []


def test_a_question_is_the_reason_where_nobody_waits_on(source: Source) -> None:
    told: list[Waiting] = []
    with machine(source) as vm:
        source.lab.fault(
            mode="question", method="CreateSnapshot_Task", max=1, text="Moved?" + "!" * 5000, choices=["No", "Yes"]
        )
        with pytest.raises(StillRunningError) as caught, tasks.watched(told.append, limit=3):
            snapshots.create(vm, NAME, "test")
        assert caught.value.code is ErrorCode.VM_ASKS
        assert str(caught.value.facts["question"]).startswith("Moved?!!!")
        assert len(str(caught.value.facts["question"])) <= tasks.MOST_TEXT
        assert caught.value.facts["choices"] == "No | Yes"
        # Other calls are refused meanwhile, and say so as well.
        source.lab.fault(method="ConsolidateVMDisks_Task", fault="QuestionPending", max=1)
        source.lab.properties("VirtualMachine", vm._moId, {"runtime.consolidationNeeded": True})
        with raises(PreconditionError, ErrorCode.VM_ASKS):
            consolidation.consolidate(vm)
        source.lab.properties("VirtualMachine", vm._moId, {"runtime.consolidationNeeded": False})
        question = vm.runtime.question
        vm.AnswerVM(question.id, question.choice.choiceInfo[1].key)
        tasks.settle(vm)
        assert [name for _, name in snapshots.made(vm)] == [NAME]


@pytest.mark.parametrize(("locked", "ends"), [(2, True), (0, False)])
def test_consolidation_waits_for_locks(source: Source, locked: int, ends: bool) -> None:
    with machine(source, patience=3) as vm:
        assert not consolidation.consolidate(vm)
        source.lab.fault(mode="consolidation-needed", method="RemoveSnapshot_Task", fault="FileLocked", max=1)
        source.lab.fault(method="ConsolidateVMDisks_Task", fault="FileLocked", task=True, max=locked)
        taken = snapshots.create(vm, NAME, "test")
        # The removal's task fails, and the snapshot is gone all the same.
        assert snapshots.remove(vm, taken._moId)
        assert consolidation.needed(vm)
        if ends:
            assert consolidation.consolidate(vm)
            assert not consolidation.needed(vm)
            return
        with raises(PreconditionError, ErrorCode.CONSOLIDATION_NEEDED):
            consolidation.consolidate(vm)


def test_changed_areas_may_take_longer_than_any_other_answer(source: Source) -> None:
    with machine(source) as vm:
        source.lab.write("web01", 0, 0, b"x")
        taken = snapshots.create(vm, NAME, "test")
        source.lab.fault(mode="late", method="QueryChangedDiskAreas", seconds=4 * TIMEOUT)
        assert cbt.allocated(vm, taken, 2000, 4 * MIB)
    assert source.lab.faults()[0]["hits"] == 1


def test_free_space_and_the_delta(source: Source) -> None:
    with machine(source) as vm:
        stores = [store._moId for store in vm.datastore]
        source.lab.limit_space(8 * MIB, 64 * MIB)
        try:
            [room] = space.rooms(vm, stores)
            assert (room.name, room.free, room.capacity) == ("LocalDS_0", 8 * MIB, 64 * MIB)
            snapshots.create(vm, NAME, "test")
            empty = space.delta_bytes(vm)  # a descriptor
            assert empty < 4096
            source.lab.write("web01", 0, 0, b"x" * MIB)
            assert space.delta_bytes(vm) == empty + MIB
            assert space.rooms(vm, stores)[0].free == 7 * MIB
            snapshots.remove_named(vm, NAME)
            assert space.rooms(vm, stores)[0].free == 8 * MIB
        finally:
            source.lab.http.delete("/lab/datastore").raise_for_status()


def test_deltas_that_do_not_go_beside_their_disks(source: Source) -> None:
    with machine(source) as vm:
        assert space.delta_store(vm) is None
        service = vim.ServiceInstance("ServiceInstance", vm._stub)
        assert not find_vm(service, "web01").deltas_apart
        option = vim.option.OptionValue(key="snapshot.redoNotWithParent", value="TRUE")
        tasks.wait(vm.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))
        assert vm.config.files.snapshotDirectory.startswith("[LocalDS_0]")
        assert space.delta_store(vm) == vm.datastore[0]._moId
        assert find_vm(service, "web01").deltas_apart
        source.lab.properties("VirtualMachine", vm._moId, {"config.files.snapshotDirectory": "[elsewhere] web01/"})
        assert space.delta_store(vm) is None, "it is none of the machine's datastores"


def test_a_machine_that_is_gone(source: Source) -> None:
    with machine(source) as vm:
        other = type(vm)("vm-4711", vm._stub)
        with raises(PreconditionError, ErrorCode.VM_DELETED), client.faults("test"):
            _ = other.snapshot
