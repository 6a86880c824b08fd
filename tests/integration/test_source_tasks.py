"""Tasks of vSphere that take long, ask something, are locked out, or whose machine goes away meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from tests.integration.gate import gate
from tests.integration.machines import overwrite
from tests.integration.support import (
    MIB,
    eventually,
    finished,
    identical,
    nothing_left,
    refused,
    report,
    run,
    sql,
    started,
    vsphere,
)
from tests.lab.lab import Lab

VM = "slow01"
HASTY = {"MIGRATEKIT_VCENTER__TIMEOUT": "0.7"}
IMPATIENT = {"MIGRATEKIT_SOURCE__REMOVAL_WAIT": "2", "MIGRATEKIT_VCENTER__PATIENCE": "2"}


@pytest.fixture(autouse=True)
def _nothing_is_wrong_before(lab: Lab) -> Iterator[None]:
    lab.vcenter.clear_faults()
    yield


def events(lab: Lab, kind: str, vm: str = VM) -> list[dict[str, Any]]:
    """Return the events of a kind of all jobs about a machine."""
    query = "SELECT e.fields, e.job_id FROM joblog_events e JOIN joblog_jobs j ON j.id = e.job_id"
    return sql(lab, f"{query} WHERE e.kind = %s AND j.owner = %s ORDER BY e.id", kind, vm)


def pending(lab: Lab, vm: str = VM) -> list[dict[str, Any]]:
    """Return the removals that are pending for a machine."""
    return sql(lab, "SELECT * FROM pending_removals WHERE vm_name = %s", vm)


def test_tasks_that_are_silent_for_longer_than_the_time_out(lab: Lab) -> None:
    lab.vcenter.fault(mode="slow-task", method="*", object=VM, seconds=1.5)
    lab.vcenter.fault(mode="late", method="QueryChangedDiskAreas", seconds=1.5)
    done = report(lab, "replicate", VM, **HASTY)
    assert (done["kind"], done["removal_pending"]) == ("full", None)
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_removal_that_takes_long_is_finished_by_the_next_sync(lab: Lab) -> None:
    overwrite(lab.vcenter, VM, 0, MIB, 4096, 5)
    lab.vcenter.fault(mode="slow-task", method="RemoveSnapshot_Task", object=VM, seconds=600, max=1)
    done = report(lab, "replicate", VM, **IMPATIENT)
    assert done["removal_pending"]
    assert events(lab, "source-task-runs")[-1]["job_id"] == done["job_id"]
    identical(lab, VM)
    [row] = pending(lab)
    assert row["job_id"] == done["job_id"]
    [job] = sql(lab, "SELECT status, current_operation FROM replication_jobs WHERE id = %s", done["job_id"])
    assert (job["status"], job["current_operation"]) == ("completed", "remove-snapshot")
    refused(lab, run(lab, "replicate", VM, **IMPATIENT), 8, ErrorCode.REMOVAL_PENDING)
    assert pending(lab) == [row]
    assert any("removal" in step for step in report(lab, "replicate", VM, "--dry-run")["steps"])
    lab.vcenter.clear_faults()  # ends the task
    assert report(lab, "replicate", VM)["removal_pending"] is None
    assert pending(lab) == []
    nothing_left(lab, VM)


def test_cleanup_finishes_a_removal_and_a_failover_does_so_before_the_source_goes_off(lab: Lab) -> None:
    # It is out of the tree already, and its disks are being merged.
    lab.vcenter.fault(mode="slow-task", method="RemoveSnapshot_Task", object=VM, seconds=600, after=True, max=1)
    assert report(lab, "replicate", VM, **IMPATIENT)["removal_pending"]
    refused(lab, run(lab, "failover", VM, "--yes", **IMPATIENT), 8, ErrorCode.REMOVAL_PENDING)
    assert lab.vcenter.vm(VM)["power"] == "on"
    assert pending(lab)
    lab.vcenter.clear_faults()
    report(lab, "cleanup", VM)
    assert pending(lab) == []
    nothing_left(lab, VM)


def test_a_question_that_blocks_a_task_is_shown_and_waited_for(lab: Lab) -> None:
    lab.vcenter.fault(mode="question", method="CreateSnapshot_Task", object=VM, max=1, text="Is it you?")
    with started(lab, "replicate", VM) as asked:
        [event] = eventually("the question is in the joblog", lambda: events(lab, "source-asks"), 40)
        assert "Is it you?" in event["fields"]
        with vsphere(lab, VM) as machine:
            machine.AnswerVM(machine.runtime.question.id, "1")
        done = finished(asked)
    assert done.returncode == 0, done.stderr
    assert "Is it you?" in done.stderr
    nothing_left(lab, VM)


def test_disks_in_need_of_consolidation(lab: Lab) -> None:
    lab.vcenter.fault(mode="consolidation-needed", method="RemoveSnapshot_Task", object=VM, fault="FileLocked", max=1)
    lab.vcenter.fault(method="ConsolidateVMDisks_Task", fault="FileLocked", task=True, max=2)
    before = len(events(lab, "consolidated"))
    overwrite(lab.vcenter, VM, 0, 0, 4096, 6)
    assert report(lab, "replicate", VM)["removal_pending"] is None
    assert len(events(lab, "consolidated")) == before + 1
    nothing_left(lab, VM)
    # Locked for longer than anybody waits: the sync is done, and the next one does not begin on top of it.
    lab.vcenter.clear_faults()
    lab.vcenter.fault(mode="consolidation-needed", method="RemoveSnapshot_Task", object=VM, max=1)
    lab.vcenter.fault(method="ConsolidateVMDisks_Task", fault="FileLocked", task=True)
    assert report(lab, "replicate", VM, **IMPATIENT)["removal_pending"]
    refused(lab, run(lab, "replicate", VM, **IMPATIENT), 4, ErrorCode.CONSOLIDATION_NEEDED)
    assert any("consolidate" in step for step in report(lab, "replicate", VM, "--dry-run")["steps"])
    lab.vcenter.clear_faults()
    report(lab, "replicate", VM)
    assert pending(lab) == []
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_machine_that_is_deleted_meanwhile(lab: Lab) -> None:
    with gate(lab.vcenter.port, 4 * MIB) as slow, started(lab, "replicate", "deleted01", **slow.settings) as mine:
        slow.wait(mine)
        assert lab.vcenter.http.delete("/lab/vms/deleted01").is_success
        slow.open()
        refused(lab, finished(mine), 4, ErrorCode.VM_DELETED)
    lab.vcenter.fault(mode="vm-deleted", method="CreateSnapshot_Task", object="deleted02", max=1)
    refused(lab, run(lab, "replicate", "deleted02"), 4, ErrorCode.VM_DELETED)
    nothing_left(lab)


FILLING = "filling01"


def test_a_first_sync_stops_before_the_datastore_is_full_and_goes_on_when_there_is_room(lab: Lab) -> None:
    lab.vcenter.limit_space(20 * MIB, 100 * MIB)
    try:
        with (
            gate(lab.vcenter.port, 6 * MIB) as slow,
            started(lab, "replicate", FILLING, MIGRATEKIT_SOURCE__SPACE_INTERVAL="0.2", **slow.settings) as first,
        ):
            slow.wait(first)
            # The guest writes to the snapshot's delta, until less than 10 % is free.
            overwrite(lab.vcenter, FILLING, 0, 0, 11 * MIB, 9)
            eventually("it was seen", lambda: events(lab, "source-space", FILLING)[1:], 30)
            slow.open()
            said = refused(lab, finished(first), 4, ErrorCode.DATASTORE_FILLS)
        assert "LocalDS_0" in said
        # Its snapshot is given back, and the machine was never paused.
        assert lab.vcenter.free_space() == 20 * MIB
        nothing_left(lab, FILLING)
        checkpoints = sql(lab, "SELECT position FROM replication_checkpoints")
        assert any(row["position"] > 0 for row in checkpoints)
        lab.vcenter.limit_space(60 * MIB, 100 * MIB)
        done = report(lab, "replicate", FILLING, MIGRATEKIT_SOURCE__SPACE_INTERVAL="0.2")
        assert "goes on" in done["disks"][0]["reason"]
        identical(lab, FILLING)
        # What is short already is said beforehand.
        lab.vcenter.limit_space(5 * MIB, 100 * MIB)
        steps = report(lab, "replicate", FILLING, "--dry-run")["steps"]
        assert any("source.min_free" in step for step in steps)
    finally:
        assert lab.vcenter.http.delete("/lab/datastore").is_success
    nothing_left(lab, FILLING)
