"""Change tracking as real vCenters do it: where "*" is of no use, tracking that begins late, disks that move."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.common.codes import ErrorCode
from tests.integration.machines import overwrite
from tests.integration.support import MIB, identical, nothing_left, refused, report, run, sql, vsphere
from tests.lab.lab import Lab

VM = "tracked01"


@pytest.fixture(autouse=True)
def _standard_vcenter(lab: Lab) -> Iterator[None]:
    yield
    assert lab.vcenter.http.delete("/lab/switches").is_success


def events(lab: Lab, job_id: str) -> list[str]:
    """Return the kinds of a job's events, in their order."""
    return [row["kind"] for row in sql(lab, "SELECT kind FROM joblog_events WHERE job_id = %s ORDER BY id", job_id)]


def test_what_is_allocated_cannot_be_had(lab: Lab) -> None:
    overwrite(lab.vcenter, VM, 0, 5 * MIB, MIB, 1)
    lab.vcenter.switch(allocated="refused")
    first = report(lab, "replicate", VM)
    assert first["kind"] == "full"
    thin = first["disks"][0]
    # All of it is looked at, and what is a hole is found out by reading.
    assert thin["changed"] == 16 * MIB
    assert MIB <= thin["moved"] < 2 * MIB
    assert events(lab, first["job_id"]).count("allocation-unknown") == 2
    # Tracking was off: the first snapshot's disks had no change id, so there was a second one.
    assert events(lab, first["job_id"]).count("source-snapshot-taken") == 2
    identical(lab, VM)
    overwrite(lab.vcenter, VM, 0, 9 * MIB, 4096, 2)
    second = report(lab, "replicate", VM)
    assert second["kind"] == "incremental"
    assert second["disks"][0]["changed"] <= 2 * 65536
    assert events(lab, second["job_id"]).count("source-snapshot-taken") == 1
    assert report(lab, "verify", VM)["identical"]
    compared = report(lab, "replicate", VM, "--compare")
    assert compared["bytes_moved"] == 0
    identical(lab, VM)
    lab.vcenter.switch(allocated="whole")
    lab.vcenter.new_epoch(VM)
    again = report(lab, "replicate", VM)
    assert (again["kind"], again["disks"][0]["changed"]) == ("full", 16 * MIB)
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_disk_that_is_excluded_is_refused_before_anything_is_made(lab: Lab) -> None:
    with vsphere(lab, "excluded01") as machine:
        option = vim.option.OptionValue(key="scsi0:0.ctkEnabled", value="FALSE")
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))
    for dry in ((), ("--dry-run",)):
        said = refused(lab, run(lab, "replicate", "excluded01", *dry), 4, ErrorCode.CBT_IMPOSSIBLE)
        assert "scsi0:0.ctkEnabled" in said
    nothing_left(lab, "excluded01")
