"""Replica volumes that nothing needs any more: who names them, and `volumes delete`, which removes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
import pytest
from cs import CloudStack
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.files import write_private
from migratekit_core.db.locks import lock_name
from tests.integration.machines import machine, overwrite, random_disk
from tests.integration.support import (
    MIB,
    Done,
    identical,
    nothing_left,
    refused,
    replica,
    report,
    run,
    sql,
    volume_ids,
    vsphere,
)
from tests.lab.guest import Images
from tests.lab.lab import Lab, running
from tests.lab.parts import mariadb


def inventory(images: Images) -> dict[str, object]:
    def disks(name: str, count: int) -> list[dict[str, Any]]:
        return [random_disk(images, f"{name}-{number}", 2 * MIB) for number in range(count)]

    names = {"shrunk01": 3, "gone01": 2, "again01": 1, "over01": 2, "tried01": 1, "locked01": 1}
    return {"vms": [machine(name, *disks(name, count)) for name, count in names.items()]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose machines lose disks and are destroyed."""
    with running(tmp_path_factory.mktemp("delete") / "run", preferred_ports=False, inventory=inventory) as lab:
        yield lab


@pytest.fixture
def lab(own_lab: Lab) -> Iterator[Lab]:
    yield own_lab
    own_lab.vcenter.clear_faults()
    own_lab.cloud.clear_faults()


def remove_disk(lab: Lab, vm: str, number: int) -> None:
    """Remove a disk from a machine, and leave its files."""
    with vsphere(lab, vm) as managed:
        disks = [item for item in managed.config.hardware.device if isinstance(item, vim.vm.device.VirtualDisk)]
        change = vim.vm.device.VirtualDeviceSpec(operation="remove", device=disks[number])
        WaitForTask(managed.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))


def destroy(lab: Lab, vm: str) -> None:
    """Delete a machine in vCenter."""
    with vsphere(lab, vm) as managed:
        WaitForTask(managed.PowerOffVM_Task())
        WaitForTask(managed.Destroy_Task())


def surplus(found: dict[str, Any]) -> dict[str, str]:
    """Return the surplus volumes that a result names, and why."""
    return {one["volume_id"]: one["reason"] for one in found["surplus_volumes"]}


def drift(lab: Lab) -> dict[str, Any]:
    """Return what `volumes drift` finds; its exit code says whether something is left to do."""
    done = run(lab, "volumes", "drift", "--output", "json")
    found: dict[str, Any] = json.loads(done.stdout)
    wanted = 1 if found["surplus_volumes"] or found["reconcile"]["drift"] else 0
    assert done.returncode == wanted, done.stdout + done.stderr
    return found


def in_cloud(lab: Lab, volume_id: str) -> bool:
    return volume_id in {volume["id"] for volume in lab.cloud.state()["volumes"]}


def behind(lab: Lab) -> CloudStack:
    """Return CloudStack's API as somebody uses it who knows nothing of MigrateKit."""
    return CloudStack(endpoint=lab.cloud.url, key=lab.cloud.api_key, secret=lab.cloud.secret_key, poll_interval=0.1)


def kept(lab: Lab, done: Done, volume_id: str, code: ErrorCode) -> str:
    """Check that a volume was not deleted because something stands against it; return what is told."""
    told = refused(lab, done, 4, code)
    assert in_cloud(lab, volume_id)
    return told


def deleted(lab: Lab, volume_id: str) -> dict[str, Any]:
    """Delete a volume, check that it is gone and recorded, and return the result."""
    done = report(lab, "volumes", "delete", volume_id, "--yes", "--yes-delete")
    assert (done["schema"], done["action"]) == ("migratekit.volume-change/1", "delete")
    assert done["result"] == {"volume_id": volume_id, "existed": True}
    assert not in_cloud(lab, volume_id)
    (job,) = sql(lab, "SELECT kind, owner, status FROM joblog_jobs WHERE id = %s", done["job_id"])
    assert (job["kind"], job["owner"], job["status"]) == ("volumes-delete", done["volume"], "completed")
    (inner,) = sql(lab, "SELECT kind, status FROM joblog_jobs WHERE parent_job_id = %s", done["job_id"])
    assert (inner["kind"], inner["status"]) == ("volume-delete", "completed")
    return done


def test_the_volume_of_a_disk_that_was_removed(lab: Lab) -> None:
    vm = "shrunk01"
    first = report(lab, "replicate", vm)
    assert first["surplus_volumes"] == []
    before = volume_ids(lab, vm)
    labels = [row["label"] for row in replica(lab, vm)]
    names = {one["id"]: one["name"] for one in lab.cloud.state()["volumes"]}
    assert surplus(drift(lab)) == {}
    remove_disk(lab, vm, 1)

    # The sync after that names it, in both forms, and so does every later one.
    done = report(lab, "replicate", vm)
    (named,) = done["surplus_volumes"]
    assert done["kind"] == "incremental"
    assert volume_ids(lab, vm) == [before[0], before[2]]
    volume_id = before[1]
    assert named["last_sync"]
    del named["last_sync"]
    assert named == {
        "volume_id": volume_id,
        "name": names[volume_id],
        "vm": vm,
        "vm_uuid": first["vm_uuid"],
        "disk": labels[1],
        "size_bytes": 1 << 30,
        "reason": "disk-removed",
        "exported": False,
        "attached": True,
        "commands": [f"migratekit volumes detach {volume_id}", f"migratekit volumes delete {volume_id}"],
    }
    told = run(lab, "replicate", vm)
    assert told.returncode == 0, told.stderr
    assert f"surplus volume {names[volume_id]} (1.0 GiB" in told.stdout
    assert f"migratekit volumes delete {volume_id}" in told.stdout

    # So do drift, the list and both cleanups, which leave it alone.
    assert surplus(drift(lab)) == {volume_id: "disk-removed"}
    assert f"migratekit volumes delete {volume_id}" in run(lab, "volumes", "drift").stdout
    listed = report(lab, "volumes", "list")
    assert {one["id"]: one["surplus"] for one in listed["volumes"] if one["surplus"]} == {volume_id: "disk-removed"}
    assert listed["not_checked"] == []
    (row,) = [line for line in run(lab, "volumes", "list").stdout.splitlines() if line.startswith(volume_id)]
    assert row.endswith("\tdisk-removed")
    for arguments in (("cleanup", vm, "--dry-run"), ("cleanup", vm), ("cleanup", "--orphans")):
        assert surplus(report(lab, *arguments)) == {volume_id: "disk-removed"}
        assert f"migratekit volumes delete {volume_id}" in run(lab, *arguments).stdout
    swept = report(lab, "cleanup", "--orphans", "--yes")
    assert (swept["orphans"], surplus(swept)) == ([], {volume_id: "disk-removed"})
    assert in_cloud(lab, volume_id)

    # Attached it is not deleted, exported it is not detached.
    told = kept(lab, run(lab, "volumes", "delete", volume_id, "--yes"), volume_id, ErrorCode.ATTACHED)
    assert f"migratekit volumes detach {volume_id}" in told
    report(lab, "volumes", "export", volume_id, "--yes")
    assert surplus(drift(lab)) == {volume_id: "disk-removed"}
    told = kept(lab, run(lab, "volumes", "delete", volume_id, "--dry-run"), volume_id, ErrorCode.EXPORTED)
    assert f"migratekit volumes unexport {volume_id}" in told
    report(lab, "volumes", "unexport", volume_id, "--yes")
    report(lab, "volumes", "detach", volume_id, "--yes")

    # A plan says what is lost; without --yes and a terminal nothing is done.
    plan = report(lab, "volumes", "delete", names[volume_id], "--dry-run")
    assert (plan["volume_id"], plan["vm"], plan["disk"], plan["surplus"]) == (volume_id, vm, labels[1], "disk-removed")
    assert (plan["size_bytes"], len(plan["steps"])) == (1 << 30, 1)
    assert "no sync needs it" in " ".join(plan["lost"])
    silent = run(lab, "volumes", "delete", volume_id, "--yes-delete")
    assert silent.returncode == 2
    assert labels[1] in silent.stderr
    assert in_cloud(lab, volume_id)

    # It was synced a moment ago: --yes alone is not enough, and the refusal names the whole command.
    told = kept(lab, run(lab, "volumes", "delete", volume_id, "--yes"), volume_id, ErrorCode.RECENT_REPLICA)
    assert f"volumes delete {volume_id} --yes --yes-delete" in told

    done = deleted(lab, volume_id)
    assert (done["vm"], done["disk"], done["surplus"]) == (vm, labels[1], "disk-removed")
    refused(lab, run(lab, "volumes", "delete", volume_id, "--yes"), 4, ErrorCode.GONE)
    assert surplus(drift(lab)) == {}
    again = report(lab, "replicate", vm)
    assert (again["kind"], again["surplus_volumes"]) == ("incremental", [])
    assert volume_ids(lab, vm) == [before[0], before[2]]
    assert surplus(report(lab, "cleanup", vm)) == {}


def test_the_volumes_of_a_machine_that_was_deleted(lab: Lab, tmp_path: Path) -> None:
    vm = "gone01"
    report(lab, "replicate", vm)
    volumes = dict.fromkeys(volume_ids(lab, vm), "machine-deleted")
    assert surplus(drift(lab)) == {}
    destroy(lab, vm)
    refused(lab, run(lab, "replicate", vm), 4, ErrorCode.VM_NOT_FOUND)

    assert surplus(drift(lab)) == volumes
    listed = report(lab, "volumes", "list")
    assert {one["id"]: one["surplus"] for one in listed["volumes"] if one["surplus"]} == volumes
    # By its name, though vCenter does not know that any more.
    for arguments in (("cleanup", vm, "--dry-run"), ("cleanup", vm), ("cleanup", "--orphans")):
        found = report(lab, *arguments)
        assert surplus(found) == volumes
        assert {one["vm"] for one in found["surplus_volumes"]} == {vm}

    # Where vCenter cannot be asked, that is said, and nothing is taken for deleted.
    text = lab.config.read_text()
    for name, changed in {
        "without": text.partition("[vcenter]")[0] + "[tunnel]" + text.partition("[tunnel]")[2],
        "closed": text.replace(f"port = {lab.ports['vcenter']}", "port = 1"),
    }.items():
        other = tmp_path / f"{name}.toml"
        write_private(other, changed)
        done = run(lab, "--config", str(other), "volumes", "drift", "--output", "json")
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert (surplus(found), len(found["not_checked"])) == ({}, 1)
        told = run(lab, "--config", str(other), "volumes", "drift").stdout
        assert "not checked: whether the machines of the replicas are still in vCenter" in told
        assert surplus(report(lab, "--config", str(other), "cleanup", vm)) == {}

    for volume_id in volumes:
        report(lab, "volumes", "detach", volume_id, "--yes")
        assert deleted(lab, volume_id)["surplus"] == "machine-deleted"
    assert surplus(drift(lab)) == {}
    assert surplus(report(lab, "cleanup", vm)) == {}


def test_a_machine_whose_uuid_cannot_be_read_is_not_taken_for_deleted(lab: Lab) -> None:
    vm = "locked01"
    uuid = report(lab, "replicate", vm)["vm_uuid"]
    moref = lab.vcenter.vm(vm)["id"]
    paths = ("config.instanceUuid", "summary.config.instanceUuid")
    lab.vcenter.properties("VirtualMachine", moref, dict.fromkeys(paths, ""))
    try:
        assert surplus(drift(lab)) == {}
        # It is the name that keeps it: under another one it is gone.
        lab.vcenter.properties("VirtualMachine", moref, {"name": "renamed"})
        assert set(surplus(drift(lab))) == set(volume_ids(lab, vm))
        lab.vcenter.properties("VirtualMachine", moref, {"name": f"/vmfs/volumes/5e1f/{vm}/{vm}.vmx"})
        assert surplus(drift(lab)) == {}
    finally:
        lab.vcenter.properties("VirtualMachine", moref, {**dict.fromkeys(paths, uuid), "name": vm})
    assert surplus(drift(lab)) == {}


def test_a_replica_that_is_needed_is_deleted_and_made_anew(lab: Lab) -> None:
    vm = "again01"
    report(lab, "replicate", vm)
    made = volume_ids(lab, vm)
    for number in range(2):
        (volume_id,) = volume_ids(lab, vm)
        report(lab, "volumes", "detach", volume_id, "--yes")
        plan = report(lab, "volumes", "delete", volume_id, "--dry-run")
        assert plan["surplus"] is None
        assert f"the next sync of {vm} makes a new volume" in " ".join(plan["lost"])
        deleted(lab, volume_id)
        # Nothing that reads the replica's rows takes it for there.
        (row,) = replica(lab, vm)
        assert (row["ossea_volume_id"], row["disk_change_id"]) == (None, None)
        assert report(lab, "replicate", vm, "--dry-run")["kind"] == "full"
        assert run(lab, "failover", vm, "--dry-run").returncode == 4
        overwrite(lab.vcenter, vm, 0, 4096 * number, 4096, number)
        done = report(lab, "replicate", vm)
        assert (done["kind"], done["surplus_volumes"]) == ("full", [])
        made += volume_ids(lab, vm)
        identical(lab, vm)
        assert report(lab, "replicate", vm)["kind"] == "incremental"
    assert len(set(made)) == 3
    nothing_left(lab, vm)


def test_one_that_others_deleted_is_made_anew_too(lab: Lab) -> None:
    vm = "again01"
    report(lab, "replicate", vm)
    (volume_id,) = volume_ids(lab, vm)
    behind(lab).detachVolume(id=volume_id, fetch_result=True)
    behind(lab).deleteVolume(id=volume_id)
    assert report(lab, "replicate", vm)["kind"] == "full"
    identical(lab, vm)
    nothing_left(lab, vm)


def test_what_is_not_ours_is_refused(lab: Lab) -> None:
    api = behind(lab)
    offering = next(one["id"] for one in api.listDiskOfferings(fetch_list=True) if one["iscustomized"])
    zone = api.listZones(fetch_list=True)[0]["id"]
    made = api.createVolume(name="theirs", diskofferingid=offering, size=1, zoneid=zone, fetch_result=True)
    volume_id = made["volume"]["id"]
    for change in ("--yes", "--dry-run"):
        told = kept(lab, run(lab, "volumes", "delete", volume_id, change), volume_id, ErrorCode.NOT_OURS)
        assert "migratekit" in told
    # By its name it is not even found.
    kept(lab, run(lab, "volumes", "delete", "theirs", "--yes"), volume_id, ErrorCode.GONE)
    oma = lab.cloud.machine("oma01")
    assert oma is not None
    root = next(one["id"] for one in lab.cloud.state()["volumes"] if one["virtualmachineid"] == oma["id"])
    kept(lab, run(lab, "volumes", "delete", root, "--yes"), root, ErrorCode.NOT_OURS)
    api.deleteVolume(id=volume_id)


@contextmanager
def held(lab: Lab, uuid: str) -> Iterator[None]:
    """Hold a machine's lock as a run on another host does."""
    with pymysql.connect(
        host="127.0.0.1",
        port=lab.ports["db"],
        user=mariadb.USER,
        password=lab.secrets["database"],
        database="migratekit_oma",
    ) as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK(%s, 0)", (lock_name(uuid),))
            assert cursor.fetchone() == (1,)
        yield


@pytest.mark.parametrize("prefix", ["", "failover-"], ids=["sync", "failover"])
def test_while_a_run_has_the_machine_it_is_busy(lab: Lab, prefix: str) -> None:
    vm = "locked01"
    uuid = report(lab, "replicate", vm)["vm_uuid"]
    (volume_id,) = volume_ids(lab, vm)
    report(lab, "volumes", "detach", volume_id, "--yes")
    with held(lab, prefix + uuid):
        refused(lab, run(lab, "volumes", "delete", volume_id, "--yes", "--yes-delete"), 8, ErrorCode.LOCKED)
        assert in_cloud(lab, volume_id)
        # A look needs no lock.
        assert report(lab, "volumes", "delete", volume_id, "--dry-run")["volume_id"] == volume_id
    assert volume_ids(lab, vm) == [volume_id]


def test_a_refusal_of_cloudstack_leaves_the_replica_as_it_was(lab: Lab) -> None:
    vm = "locked01"
    report(lab, "replicate", vm)
    (volume_id,) = volume_ids(lab, vm)
    report(lab, "volumes", "detach", volume_id, "--yes")
    lab.cloud.fault(command="deleteVolume", mode="error", errorcode=530, text="not today")
    refused(lab, run(lab, "volumes", "delete", volume_id, "--yes", "--yes-delete"), 1, ErrorCode.UNKNOWN)
    assert in_cloud(lab, volume_id)
    assert volume_ids(lab, vm) == [volume_id]
    done = report(lab, "replicate", vm)
    assert done["kind"] == "incremental"
    identical(lab, vm)


def test_the_disks_of_a_new_machine(lab: Lab) -> None:
    vm = "over01"
    report(lab, "replicate", vm)
    before = volume_ids(lab, vm)
    remove_disk(lab, vm, 1)
    report(lab, "replicate", vm)
    report(lab, "failover", vm, "--yes")
    (volume_id,) = volume_ids(lab, vm)
    told = kept(lab, run(lab, "volumes", "delete", volume_id, "--yes"), volume_id, ErrorCode.IN_FAILOVER)
    assert f"migratekit rollback {vm}" in told
    # Also where somebody took it off the new machine, and where the source is deleted, which is what one does then.
    destination = lab.cloud.volume(volume_id)["virtualmachineid"]
    behind(lab).stopVirtualMachine(id=destination, fetch_result=True)
    behind(lab).detachVolume(id=volume_id, fetch_result=True)
    kept(lab, run(lab, "volumes", "delete", volume_id, "--yes"), volume_id, ErrorCode.IN_FAILOVER)
    assert surplus(drift(lab)) == {before[1]: "disk-removed"}
    with vsphere(lab, vm) as managed:
        WaitForTask(managed.Destroy_Task())
    assert surplus(drift(lab)) == {before[1]: "disk-removed"}
    kept(lab, run(lab, "volumes", "delete", volume_id, "--yes"), volume_id, ErrorCode.IN_FAILOVER)
    # What the failover has not taken can go.
    report(lab, "volumes", "detach", before[1], "--yes")
    deleted(lab, before[1])


def test_a_rehearsals_copies_and_what_they_are_of(lab: Lab) -> None:
    vm = "tried01"
    report(lab, "replicate", vm)
    (volume_id,) = volume_ids(lab, vm)
    made = report(lab, "test-failover", vm)
    (copy,) = made["volume_ids"]
    for one in (copy, volume_id):
        told = kept(lab, run(lab, "volumes", "delete", one, "--yes"), one, ErrorCode.IN_FAILOVER)
        assert f"migratekit cleanup {vm}" in told
    assert surplus(drift(lab)) == {}
    report(lab, "cleanup", vm)
    report(lab, "volumes", "detach", volume_id, "--yes")
    deleted(lab, volume_id)
    assert report(lab, "replicate", vm)["kind"] == "full"
    identical(lab, vm)
