"""The main job, in its order: discover, replicate while the guest writes, rehearse, clean up, cut over."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from tests.integration.support import (
    GRANULE,
    MIB,
    eventually,
    identical,
    no_children,
    nothing_left,
    refused,
    replica,
    report,
    run,
    same_bytes,
    sql,
    volume_ids,
)
from tests.lab.guest import SYSTEM_SIZE
from tests.lab.lab import Lab

pytestmark = pytest.mark.story
VM = "main01"
DATA_SIZE = 16 * MIB + 12 * 1024 + 512


@dataclass
class Story:
    """What earlier steps made, for the later ones."""

    first: dict[str, Any]
    written: list[int]


@pytest.fixture(scope="module")
def story(shared_lab: Lab) -> Story:
    """The first sync, while the guest writes."""
    ended = threading.Event()
    written: list[int] = []

    def write() -> None:
        rng = random.Random(7)
        while not ended.is_set():
            shared_lab.vcenter.write(VM, 1, rng.randrange(0, DATA_SIZE - 4096) // 512 * 512, rng.randbytes(4096))
            written.append(4096)
            ended.wait(0.005)

    guest = threading.Thread(target=write)
    guest.start()
    try:
        first = report(shared_lab, "replicate", VM)
    finally:
        ended.set()
        guest.join()
    return Story(first, written)


def test_discover_tells_what_matters(lab: Lab) -> None:
    found = report(lab, "discover")
    assert found["schema"] == "migratekit.discover/1"
    by_path = {vm["path"]: vm for vm in found["vms"]}
    vm = by_path["/DC0/vm/prod/main/main01"]
    assert (vm["power"], vm["tools"], vm["firmware"]) == ("poweredOn", "guestToolsRunning", "efi")
    assert (vm["cpus"], vm["memory_mib"], vm["guest_id"]) == (2, 1024, "debian12_64Guest")
    assert [disk["capacity_bytes"] for disk in vm["disks"]] == [SYSTEM_SIZE, DATA_SIZE]
    assert [disk["provisioning"] for disk in vm["disks"]] == ["thin", "thick"]
    assert [disk["label"] for disk in vm["disks"]] == ["Hard disk 1", "Hard disk 2"]
    (nic,) = vm["nics"]
    assert (nic["network"], nic["network_kind"], nic["unresolved"]) == ("VM Network", "standard", "")
    assert (nic["mac"], nic["type"], nic["ip_addresses"]) == ("00:50:56:00:00:21", "vmxnet3", ["192.0.2.21"])
    assert vm["uuid"]
    # Change tracking by the machine's flag: a live disk has no change id though it is tracked.
    off, on = by_path["/DC0/vm/backup-off"], by_path["/DC0/vm/backup-on"]
    assert (off["cbt_enabled"], off["disks"][0]["change_id"]) == (False, None)
    assert on["cbt_enabled"]
    assert on["disks"][0]["change_id"] is None
    # Distributed portgroups by their names, and machines of one name side by side.
    assert [nic["network"] for nic in by_path["/DC0/vm/unmapped01"]["nics"]] == ["DC0_DVPG0", "DC0_DVPG1"]
    assert {"/DC0/vm/a/twin", "/DC0/vm/b/twin"} <= by_path.keys()


def test_discover_shows_change_tracking_as_off_before_the_first_sync(lab: Lab) -> None:
    done = run(lab, "discover")
    assert done.returncode == 0, done.stderr
    head, *rows = (line.split("\t") for line in done.stdout.splitlines())
    assert head == ["name", "power", "cpu", "memory", "disks", "cbt", "networks", "firmware", "guest"]
    states = {row[0]: row[5] for row in rows}
    assert (states["backup-off"], states["backup-on"]) == ("off", "on")


def test_a_plan_changes_nothing(lab: Lab) -> None:
    before = lab.cloud.state()["volumes"]
    plan = report(lab, "replicate", "offline01", "--dry-run")
    assert plan["kind"] == "full"
    assert any("tracking" in step for step in plan["steps"])
    assert lab.cloud.state()["volumes"] == before
    assert not lab.vcenter.vm("offline01")["cbt"]
    assert replica(lab, "offline01") == []


def test_the_first_sync_is_full(lab: Lab, story: Story) -> None:
    first = story.first
    assert (first["kind"], first["vm"]) == ("full", VM)
    assert [disk["reason"] for disk in first["disks"]] == ["first sync", "first sync"]
    # Of the thin disk only what is allocated; of the thick one everything, rounded up to the granule.
    assert first["disks"][0]["changed"] < SYSTEM_SIZE / 2
    assert DATA_SIZE <= first["disks"][1]["changed"] <= DATA_SIZE + GRANULE
    for disk in first["disks"]:
        assert 0 < disk["moved"] <= disk["changed"]
    assert story.written, "the guest wrote nothing meanwhile"
    assert lab.vcenter.vm(VM)["cbt"]
    nothing_left(lab, VM)
    no_children(lab)


def test_change_ids_are_stored_with_the_volumes(lab: Lab, story: Story) -> None:
    rows = replica(lab, VM)
    assert [row["job_id"] for row in rows] == [story.first["job_id"]] * 2
    assert [row["disk_id"] for row in rows] == ["2000", "2001"]
    assert [row["capacity_bytes"] for row in rows] == [SYSTEM_SIZE, DATA_SIZE]
    assert [row["sync_status"] for row in rows] == ["completed", "completed"]
    live = [disk["epoch"] for disk in lab.vcenter.vm(VM)["disks"]]
    assert [row["disk_change_id"].partition("/")[0] for row in rows] == live


@pytest.mark.usefixtures("story")
def test_the_next_sync_brings_what_was_written_during_the_first(lab: Lab) -> None:
    second = report(lab, "replicate", VM)
    assert second["kind"] == "incremental"
    assert second["disks"][1]["changed"] > 0
    identical(lab, VM)


@pytest.mark.usefixtures("story")
def test_without_a_change_nothing_moves(lab: Lab) -> None:
    again = report(lab, "replicate", VM)
    assert (again["kind"], again["bytes_moved"], again["bytes_changed"]) == ("incremental", 0, 0)


@pytest.mark.usefixtures("story")
def test_an_incremental_sync_moves_only_what_changed(lab: Lab) -> None:
    before = volume_ids(lab, VM)
    rng = random.Random(3)
    blocks = rng.sample(range(DATA_SIZE // GRANULE), 20)
    for block in blocks:
        lab.vcenter.write(VM, 1, block * GRANULE + 512, rng.randbytes(4096))
    lab.vcenter.write(VM, 0, 100 * MIB, rng.randbytes(MIB))
    lab.vcenter.discard(VM, 0, 0, 4 * MIB)
    done = report(lab, "replicate", VM)
    system, data = done["disks"]
    assert done["kind"] == "incremental"
    assert data["changed"] == len(blocks) * GRANULE
    assert 20 * 4096 <= data["moved"] <= data["changed"]
    # What the guest discarded has changed, and costs nothing but a request.
    assert system["changed"] >= 5 * MIB
    assert system["moved"] == MIB
    identical(lab, VM)
    nothing_left(lab, VM)
    assert volume_ids(lab, VM) == before


@dataclass
class Rehearsal:
    """A rehearsal that runs."""

    made: dict[str, Any]
    disks: list[bytes]


@pytest.fixture(scope="module")
def rehearsal(shared_lab: Lab, story: Story) -> Rehearsal:
    """A rehearsal, and what the disks held when it was made."""
    report(shared_lab, "replicate", VM)
    made = report(shared_lab, "test-failover", VM)
    return Rehearsal(made, [shared_lab.vcenter.read(VM, number) for number in range(2)])


def test_a_rehearsal_runs_in_the_test_network_on_volumes_of_its_own(lab: Lab, rehearsal: Rehearsal) -> None:
    made = rehearsal.made
    machine = lab.cloud.machine(made["destination_name"])
    assert machine is not None
    assert (machine["id"], machine["state"]) == (made["destination_vm_id"], "Running")
    assert made["networks"] == {"VM Network": "migration-test"}
    (nic,) = machine["nics"]
    assert nic["ipaddress"].startswith("10.99.0.")
    assert nic["macaddress"] != "00:50:56:00:00:21"
    assert not set(made["volume_ids"]) & set(volume_ids(lab, VM))
    attached = [lab.cloud.volume(volume_id) for volume_id in made["volume_ids"]]
    assert [volume["virtualmachineid"] for volume in attached] == [machine["id"]] * 2
    assert [volume["deviceid"] for volume in attached] == [0, 1]
    assert lab.vcenter.vm(VM)["power"] == "on"


def test_replication_goes_on_while_the_rehearsal_runs(lab: Lab, rehearsal: Rehearsal) -> None:
    lab.vcenter.write(VM, 1, 5 * MIB, random.Random(9).randbytes(GRANULE))
    assert report(lab, "replicate", VM)["bytes_moved"] == GRANULE
    identical(lab, VM)
    for volume_id, disk in zip(rehearsal.made["volume_ids"], rehearsal.disks, strict=True):
        same_bytes(lab.run / "cloud" / "volumes" / f"{volume_id}.raw", disk)


def test_cleanup_takes_the_rehearsal_away_and_nothing_else(lab: Lab, rehearsal: Rehearsal) -> None:
    made = rehearsal.made
    plan = report(lab, "cleanup", VM, "--dry-run")
    assert plan["failovers"] == [made["failover_id"]]
    done = report(lab, "cleanup", VM)
    assert done["machines"] == [made["destination_vm_id"]]
    assert sorted(done["volumes"]) == sorted(made["volume_ids"])
    assert sorted(done["snapshots"]) == sorted(made["snapshot_ids"])
    assert lab.cloud.machine(made["destination_name"]) is None
    left = {volume["id"] for volume in lab.cloud.state()["volumes"]}
    assert not left & set(made["volume_ids"])
    assert set(volume_ids(lab, VM)) <= left
    nothing_left(lab, VM)


@pytest.mark.usefixtures("rehearsal")
def test_cleanup_can_be_repeated(lab: Lab) -> None:
    report(lab, "cleanup", VM)
    again = report(lab, "cleanup", VM)
    assert (again["failovers"], again["volumes"], again["machines"]) == ([], [], [])


@pytest.fixture(scope="module")
def over(shared_lab: Lab, story: Story) -> Iterator[dict[str, Any]]:
    """The cut-over, with something left to sync."""
    shared_lab.vcenter.write(VM, 1, 2 * MIB, random.Random(11).randbytes(GRANULE))
    yield report(shared_lab, "failover", VM, "--yes")


def test_failover_moves_the_machine(lab: Lab, over: dict[str, Any]) -> None:
    assert lab.vcenter.vm(VM)["power"] == "off"
    assert over["shutdown"] == "guest"
    assert over["final_sync_bytes_moved"] >= GRANULE
    machine = lab.cloud.machine("main01")
    assert machine is not None
    assert (machine["id"], machine["state"]) == (over["destination_vm_id"], "Running")
    (nic,) = machine["nics"]
    assert over["networks"] == {"VM Network": "guest-prod"}
    assert nic["ipaddress"].startswith("10.1.1.")
    assert nic["macaddress"] == "00:50:56:00:00:21"


def test_failover_gives_the_machine_the_very_bytes_in_the_right_order(lab: Lab, over: dict[str, Any]) -> None:
    assert over["volume_ids"] == volume_ids(lab, VM)
    volumes = [lab.cloud.volume(volume_id) for volume_id in over["volume_ids"]]
    assert [volume["virtualmachineid"] for volume in volumes] == [over["destination_vm_id"]] * 2
    assert [(volume["type"], volume["deviceid"]) for volume in volumes] == [("ROOT", 0), ("DATADISK", 1)]
    identical(lab, VM)


def test_failover_leaves_nothing_behind(lab: Lab, over: dict[str, Any]) -> None:
    nothing_left(lab, VM)
    oma = lab.cloud.machine("oma01")
    assert oma is not None
    serials = {volume_id.replace("-", "")[:20] for volume_id in over["volume_ids"]}
    assert not {name.removeprefix("virtio-") for name in oma["devices"]} & serials
    mapped = sql(lab, "SELECT volume_id, vm_id FROM device_mappings", database="migratekit_volumes")
    assert [row for row in mapped if row["volume_id"] in over["volume_ids"] and row["vm_id"] == oma["id"]] == []
    (job,) = sql(lab, "SELECT * FROM failover_jobs WHERE id = %s", over["failover_id"])
    assert (job["status"], job["destination_vm_id"]) == ("completed", over["destination_vm_id"])
    eventually("all CloudStack jobs have ended", lambda: not sql(lab, OPEN_CLOUD_JOBS), 10)
    no_children(lab)


OPEN_CLOUD_JOBS = "SELECT cloudstack_command FROM cloudstack_job_tracking WHERE status = 'running'"


def test_a_machine_that_moved_is_not_replicated_or_moved_again(lab: Lab, over: dict[str, Any]) -> None:
    said = refused(lab, run(lab, "replicate", VM), 4, ErrorCode.IN_FAILOVER)
    assert "main01 is failed over" in said
    assert over["failover_id"] in said
    said = refused(lab, run(lab, "failover", VM, "--yes"), 4, ErrorCode.IN_FAILOVER)
    assert "main01 is failed over" in said
    assert over["destination_vm_id"] in said
    machine = lab.cloud.machine("main01")
    assert machine is not None
    assert machine["state"] == "Running"
    assert lab.vcenter.vm(VM)["power"] == "off"


def test_jobs_tell_the_story(lab: Lab, over: dict[str, Any]) -> None:
    jobs = report(lab, "jobs", "list", "--vm", VM, "--limit", "100")["jobs"]
    assert {job["kind"] for job in jobs} == {"replication", "test-failover", "cleanup", "failover"}
    assert {job["status"] for job in jobs} == {"completed"}
    newest = next(job for job in jobs if job["kind"] == "failover")
    shown = report(lab, "jobs", "show", newest["id"])
    steps = [step["name"] for step in shown["steps"]]
    wanted = ["deploy", "try-swap", "shutdown-source", "final-sync", "move-volumes", "start"]
    assert [step for step in steps if step in wanted] == wanted
    assert "replication" in {job["kind"] for job in shown["jobs"]}
