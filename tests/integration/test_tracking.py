"""Change tracking as real vCenters do it: where "*" is of no use, tracking that begins late, disks that move."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.files import write_private
from tests.integration.gate import gate
from tests.integration.machines import overwrite
from tests.integration.support import (
    MIB,
    finished,
    identical,
    nothing_left,
    refused,
    replica,
    report,
    run,
    sql,
    started,
    volume_ids,
    vsphere,
)
from tests.lab.lab import Lab

VM, MOVED = "tracked01", "moved01"


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
    lab.vcenter.switch(allocated="none")
    lab.vcenter.new_epoch(VM)
    overwrite(lab.vcenter, VM, 0, 3 * MIB, 4096, 3)
    # Both disks hold data, so the answer is wrong; one that is trusted would make zeros of the replica.
    disbelieved = report(lab, "replicate", VM)
    assert (disbelieved["kind"], disbelieved["disks"][0]["changed"]) == ("full", 16 * MIB)
    assert events(lab, disbelieved["job_id"]).count("allocation-unknown") == 2
    identical(lab, VM)
    assert report(lab, "verify", VM)["identical"]
    nothing_left(lab, VM)


def test_a_disk_that_is_excluded_is_refused_before_anything_is_made(lab: Lab) -> None:
    with vsphere(lab, "excluded01") as machine:
        option = vim.option.OptionValue(key="scsi0:0.ctkEnabled", value="FALSE")
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(extraConfig=[option])))
    for dry in ((), ("--dry-run",)):
        said = refused(lab, run(lab, "replicate", "excluded01", *dry), 4, ErrorCode.CBT_IMPOSSIBLE)
        assert "scsi0:0.ctkEnabled" in said
    nothing_left(lab, "excluded01")


def move(lab: Lab, vm: str, key: int, unit: int) -> None:
    """Move a disk to another slot of its controller."""
    with vsphere(lab, vm) as machine:
        disk = next(device for device in machine.config.hardware.device if device.key == key)
        disk.unitNumber = unit
        change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))


def held(lab: Lab, vm: str) -> dict[str, str]:
    """Return each disk's volume, by its device key."""
    return {row["disk_id"]: row["ossea_volume_id"] for row in replica(lab, vm)}


def test_a_disk_that_moved_to_another_slot_keeps_its_replica(lab: Lab) -> None:
    report(lab, "replicate", MOVED)
    first, second = volume_ids(lab, MOVED)
    # As an older version left it: no uuid is known, so the device keys count, and the uuids are written down.
    sql(lab, "DELETE FROM replica_disks WHERE volume_id IN (%s, %s)", first, second)
    assert report(lab, "replicate", MOVED)["kind"] == "incremental"
    # Both disks change places: 2000 was the first one's.
    for key, unit in ((2000, 9), (2001, 0), (2009, 1)):
        move(lab, MOVED, key, unit)
    overwrite(lab.vcenter, MOVED, 0, MIB, 4096, 3)
    assert run(lab, "verify", MOVED, "--dry-run").returncode == 0
    done = report(lab, "replicate", MOVED)
    assert (done["kind"], done["surplus_volumes"]) == ("incremental", [])
    assert held(lab, MOVED) == {"2000": second, "2001": first}
    assert done["bytes_changed"] <= 65536
    for volume, number in zip((second, first), disks_by_key(lab, MOVED), strict=True):
        path = Path(lab.cloud.volume(volume)["file"])
        with path.open("rb") as file:
            assert file.read(4 * MIB) == lab.vcenter.read(MOVED, number)


def disks_by_key(lab: Lab, vm: str) -> list[int]:
    """Return the numbers of a machine's disks in the order of their device keys."""
    disks = lab.vcenter.vm(vm)["disks"]
    return sorted(range(len(disks)), key=lambda number: disks[number]["key"])


def test_snapshots_of_other_installations_stay(lab: Lab, tmp_path: Path) -> None:
    job_id = report(lab, "replicate", VM)["job_id"]
    snapshot(lab, VM, f"migratekit-{job_id}")  # as 0.1.0 named them
    report(lab, "replicate", VM)
    nothing_left(lab, VM)
    for foreign in (f"migratekit-{uuid.uuid4()}", f"migratekit-0123456789ab-{job_id}"):
        snapshot(lab, VM, foreign)
        # The reader of files cannot read a machine with somebody else's snapshot.
        refused(lab, run(lab, "replicate", VM), 4, ErrorCode.READER_UNFIT)
        assert names(lab, VM) == [foreign]
        with vsphere(lab, VM) as machine:
            WaitForTask(machine.RemoveAllSnapshots_Task())
    # Another installation, with a database of its own, while this one copies.
    other = tmp_path / "other.toml"
    head, _, rest = lab.config.read_text().partition("[database]")
    key = next(line for line in rest.splitlines() if line.startswith("encryption_key"))
    table = f'[database]\nkind = "sqlite"\ndirectory = "{tmp_path}"\n{key}\n'
    write_private(other, f"{head}{table}[ossea]{rest.partition('[ossea]')[2]}")
    report(lab, "--config", str(other), "db", "upgrade")
    lab.vcenter.new_epoch(VM)
    with gate(lab.vcenter.port, 2 * MIB) as slow, started(lab, "replicate", VM, **slow.settings) as mine:
        slow.wait(mine)
        refused(lab, run(lab, "--config", str(other), "replicate", VM), 4, ErrorCode.READER_UNFIT)
        slow.open()
        assert finished(mine).returncode == 0
    identical(lab, VM)
    nothing_left(lab, VM)


def names(lab: Lab, vm: str) -> list[str]:
    """Return the names of a machine's snapshots at the root of its tree."""
    with vsphere(lab, vm) as machine:
        return [tree.name for tree in machine.snapshot.rootSnapshotList]


def snapshot(lab: Lab, vm: str, name: str) -> None:
    """Take a snapshot with this name."""
    with vsphere(lab, vm) as machine:
        WaitForTask(machine.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False))
