"""What the double shows while jobs work, what it refuses meanwhile, and what a restart of the server leaves behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from cs import CloudStack

from tests.integration.cloud_double import PLAIN, Double, Ids, blank, deploy, find_ids, refused, root_of, running
from tests.integration.support import eventually

SLOW = 1.5
"""Seconds that a job takes which is looked at while it works."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("jobs"), "--job-seconds", "0.01") as double:
        yield double


@pytest.fixture
def double(shared: Double) -> Iterator[Double]:
    yield shared
    shared.control("DELETE", "/lab/faults")
    shared.control("DELETE", "/lab/settings")


@pytest.fixture
def user(double: Double) -> CloudStack:
    return double.api(PLAIN)


@pytest.fixture
def later(double: Double) -> CloudStack:
    """A client that does not wait for jobs."""
    return double.api(PLAIN, fetch_result=False)


@pytest.fixture(scope="module")
def ids(shared: Double) -> Ids:
    return find_ids(shared)


@pytest.fixture
def machine(user: CloudStack, ids: Ids) -> Iterator[str]:
    made = deploy(user, ids, "worker")["id"]
    yield made
    user.destroyVirtualMachine(id=made, expunge=True)


def slow(double: Double, command: str, seconds: float = SLOW) -> None:
    double.control("POST", "/lab/faults", command=command, mode="slow", seconds=seconds)


def volume_state(api: CloudStack, volume: str) -> str:
    return str(api.listVolumes(id=volume)["volume"][0]["state"])


def machine_state(api: CloudStack, machine: str) -> str:
    return str(api.listVirtualMachines(id=machine)["virtualmachine"][0]["state"])


def ended(api: CloudStack, job: str) -> dict[str, object]:
    """Wait until a job has ended, and return its last poll."""

    def poll() -> dict[str, object] | None:
        found: dict[str, object] = api.queryAsyncJobResult(jobid=job)
        return found if found["jobstatus"] else None

    found: dict[str, object] = eventually("the job ends", poll, 20)
    return found


def test_a_volume_is_attaching(double: Double, user: CloudStack, later: CloudStack, ids: Ids, machine: str) -> None:
    volume = blank(user, ids)["id"]
    slow(double, "attachVolume")
    job = later.attachVolume(id=volume, virtualmachineid=machine)["jobid"]
    eventually("it is Attaching", lambda: volume_state(user, volume) == "Attaching", 10)
    row = user.listVolumes(id=volume)["volume"][0]
    assert "virtualmachineid" not in row and row["jobid"] == job and row["jobstatus"] == 0
    error = refused(431, user.createSnapshot, in_job=False, volumeid=volume)
    assert error["errortext"].endswith("is not in Ready state but Attaching. Cannot take snapshot.")
    refused(530, user.deleteVolume, in_job=False, id=volume)
    error = refused(431, user.attachVolume, in_job=True, id=volume, virtualmachineid=machine)
    assert error["errortext"] == "Volume state must be in Allocated, Ready or in Uploaded state"
    assert ended(later, job)["jobstatus"] == 1
    assert user.listVolumes(id=volume)["volume"][0]["virtualmachineid"] == machine
    user.detachVolume(id=volume)
    user.deleteVolume(id=volume)


def test_an_attach_that_fails_gives_the_volume_back(
    double: Double, user: CloudStack, later: CloudStack, ids: Ids, machine: str
) -> None:
    volume = blank(user, ids)["id"]
    double.control("POST", "/lab/faults", command="attachVolume", mode="job-fails", errorcode=530)
    refused(530, user.attachVolume, in_job=True, id=volume, virtualmachineid=machine)
    assert volume_state(user, volume) == "Allocated"
    user.deleteVolume(id=volume)


def test_one_volume_asked_twice_at_once(
    double: Double, user: CloudStack, later: CloudStack, ids: Ids, machine: str
) -> None:
    volume, first = blank(user, ids)["id"], blank(user, ids)["id"]
    slow(double, "attachVolume")
    busy = later.attachVolume(id=first, virtualmachineid=machine)["jobid"]  # the two wait behind it
    jobs = [later.attachVolume(id=volume, virtualmachineid=machine)["jobid"] for _ in range(2)]
    ended(later, busy)
    one, other = sorted((ended(later, job) for job in jobs), key=lambda job: str(job["jobstatus"]))
    assert one["jobstatus"] == 1
    assert other["jobresult"] == {"errorcode": 530, "errortext": "This volume is already attached to a VM."}
    for one_volume in (volume, first):
        user.detachVolume(id=one_volume)
        user.deleteVolume(id=one_volume)


def test_a_volume_is_snapshotting_and_resizing(
    double: Double, user: CloudStack, later: CloudStack, ids: Ids, machine: str
) -> None:
    volume = blank(user, ids)["id"]
    user.attachVolume(id=volume, virtualmachineid=machine)
    user.detachVolume(id=volume)
    slow(double, "createSnapshot")
    made = later.createSnapshot(volumeid=volume)
    eventually("it is Snapshotting", lambda: volume_state(user, volume) == "Snapshotting", 10)
    assert user.listSnapshots(id=made["id"])["snapshot"][0]["state"] == "BackingUp"
    refused(431, user.attachVolume, in_job=True, id=volume, virtualmachineid=machine)
    error = refused(431, user.deleteVolume, in_job=False, id=volume)
    assert error["errortext"] == "There are snapshot operations in progress on the volume, unable to delete it"
    assert ended(later, made["jobid"])["jobstatus"] == 1
    user.deleteSnapshot(id=made["id"])
    slow(double, "resizeVolume")
    job = later.resizeVolume(id=volume, size=2)["jobid"]
    eventually("it is Resizing", lambda: volume_state(user, volume) == "Resizing", 10)
    refused(431, user.createSnapshot, in_job=False, volumeid=volume)
    assert ended(later, job)["jobstatus"] == 1
    assert volume_state(user, volume) == "Ready"
    user.deleteVolume(id=volume)


def test_a_machine_is_stopping_and_starting(double: Double, user: CloudStack, later: CloudStack, machine: str) -> None:
    slow(double, "stopVirtualMachine")
    stop = later.stopVirtualMachine(id=machine)["jobid"]
    error = refused(431, user.startVirtualMachine, in_job=True, id=machine)  # while the stop is queued, or goes on
    assert error["errortext"].endswith("is already running")
    eventually("it is Stopping", lambda: machine_state(user, machine) == "Stopping", 10)
    assert ended(later, stop)["jobstatus"] == 1
    assert machine_state(user, machine) == "Stopped"
    slow(double, "startVirtualMachine")
    start = later.startVirtualMachine(id=machine)["jobid"]
    eventually("it is Starting", lambda: machine_state(user, machine) == "Starting", 10)
    assert ended(later, start)["jobstatus"] == 1
    assert machine_state(user, machine) == "Running"


def test_a_machine_is_deployed(double: Double, user: CloudStack, later: CloudStack, ids: Ids) -> None:
    slow(double, "deployVirtualMachine")
    made = later.deployVirtualMachine(
        zoneid=ids.zone, serviceofferingid=ids.small, networkids=ids.test, name="starting", templateid=ids.template
    )
    eventually("it is Starting", lambda: machine_state(user, made["id"]) == "Starting", 10)
    assert root_of(user, made["id"])["state"] == "Creating"
    assert ended(later, made["jobid"])["jobstatus"] == 1
    user.destroyVirtualMachine(id=made["id"], expunge=True)


def test_a_restart_ends_running_and_queued_jobs(
    double: Double, user: CloudStack, later: CloudStack, ids: Ids, machine: str
) -> None:
    fresh, used, snapshotted = (blank(user, ids)["id"] for _ in range(3))
    for volume in (used, snapshotted):
        user.attachVolume(id=volume, virtualmachineid=machine)
        user.detachVolume(id=volume)
    for command in ("attachVolume", "createSnapshot", "deployVirtualMachine"):
        slow(double, command, 60.0)
    running_job = later.attachVolume(id=used, virtualmachineid=machine)["jobid"]
    eventually("it is Attaching", lambda: volume_state(user, used) == "Attaching", 10)
    queued = [
        later.attachVolume(id=fresh, virtualmachineid=machine)["jobid"],
        later.stopVirtualMachine(id=machine)["jobid"],
    ]
    snapshot = later.createSnapshot(volumeid=snapshotted)
    deployed = later.deployVirtualMachine(
        zoneid=ids.zone, serviceofferingid=ids.small, networkids=ids.test, name="crashed", templateid=ids.template
    )
    eventually("it is Starting", lambda: machine_state(user, deployed["id"]) == "Starting", 10)
    double.settings(interrupted_seconds=1.0)
    double.control("POST", "/lab/restart", seconds=0.7)
    with pytest.raises(requests.exceptions.ConnectionError, match="Connection refused"):
        user.listZones()
    assert double.control("GET", "/lab/running")  # the lab's own endpoints still answer

    def back() -> bool:
        try:
            return bool(user.listZones())
        except requests.exceptions.ConnectionError:
            return False

    eventually("it is back", back, 20)
    for job in (running_job, *queued, snapshot["jobid"], deployed["jobid"]):
        last = later.queryAsyncJobResult(jobid=job)
        assert (last["jobstatus"], last["jobresultcode"]) == (2, 530)
        assert "jobresult" not in last
    assert volume_state(user, used) == "Ready"
    assert volume_state(user, fresh) == "Allocated"
    assert "virtualmachineid" not in user.listVolumes(id=used)["volume"][0]
    assert volume_state(user, snapshotted) == "Ready"
    assert user.listSnapshots(id=snapshot["id"])["snapshot"][0]["state"] == "Error"
    assert machine_state(user, machine) == "Running"
    eventually("it is in Error", lambda: machine_state(user, deployed["id"]) == "Error", 20)
    user.attachVolume(id=used, virtualmachineid=machine)
    user.detachVolume(id=used)
    user.deleteSnapshot(id=snapshot["id"])
    user.destroyVirtualMachine(id=deployed["id"], expunge=True)
    for volume in (fresh, used, snapshotted):
        user.deleteVolume(id=volume)


def test_a_job_that_holds_its_machine_too_long_is_given_up_and_done_all_the_same(
    double: Double, user: CloudStack, later: CloudStack, ids: Ids, machine: str
) -> None:
    volume, other = blank(user, ids)["id"], blank(user, ids)["id"]
    for one in (volume, other):
        user.attachVolume(id=one, virtualmachineid=machine)
        user.detachVolume(id=one)
    user.attachVolume(id=volume, virtualmachineid=machine)
    double.settings(snapshot_seconds_per_gib=3.0, job_cancel_minutes=0.5 / 60)
    made = later.createSnapshot(volumeid=volume)
    waits = later.attachVolume(id=other, virtualmachineid=machine)["jobid"]
    last = ended(later, made["jobid"])
    assert (last["jobstatus"], last["jobresultcode"], last["jobresulttype"]) == (2, 0, "text")
    assert "blocking others" in str(last["jobresult"])
    assert ended(later, waits)["jobstatus"] == 1, "its place was given up"

    def state() -> str:
        return str(user.listSnapshots(id=made["id"])["snapshot"][0]["state"])

    assert state() == "BackingUp"
    eventually("it is done all the same", lambda: state() == "BackedUp", 20)
    for one in (volume, other):
        user.detachVolume(id=one)
        user.deleteVolume(id=one)
    user.deleteSnapshot(id=made["id"])


def test_managed_storage_swaps_no_root(double: Double, ids: Ids) -> None:
    user = double.api()
    double.settings(managed_storage=True)
    shell = deploy(user, ids, "managed", startvm=False)["id"]
    root, placed, new = root_of(user, shell)["id"], blank(user, ids)["id"], blank(user, ids)["id"]
    user.attachVolume(id=placed, virtualmachineid=ids.oma)
    user.detachVolume(id=placed)
    user.detachVolume(id=root)  # it lies on no storage yet
    refused(431, user.attachVolume, in_job=True, id=placed, virtualmachineid=shell, deviceid=0)
    user.attachVolume(id=new, virtualmachineid=shell, deviceid=0)
    user.detachVolume(id=new)
    user.attachVolume(id=placed, virtualmachineid=shell, deviceid=1)
    user.detachVolume(id=placed)
    user.destroyVirtualMachine(id=shell, expunge=True)
    for volume in (root, placed, new):
        user.deleteVolume(id=volume)


def test_an_attach_to_another_cluster_moves_the_volume(double: Double, user: CloudStack, ids: Ids) -> None:
    admin, shell = double.api(), deploy(double.api(), ids, "far", startvm=False)["id"]
    volume = blank(admin, ids)["id"]
    admin.attachVolume(id=volume, virtualmachineid=ids.oma)
    admin.detachVolume(id=volume)
    before = admin.listVolumes(id=volume)["volume"][0]
    double.settings(attach_migrates=True)
    admin.attachVolume(id=volume, virtualmachineid=shell, deviceid=1)
    after = admin.listVolumes(id=volume)["volume"][0]
    assert after["storageid"] != before["storageid"]
    admin.detachVolume(id=volume)
    admin.deleteVolume(id=volume)
    admin.destroyVirtualMachine(id=shell, expunge=True)


def test_a_shared_networks_router_has_an_address_that_nobody_sees(user: CloudStack, ids: Ids) -> None:
    narrow = next(row["id"] for row in user.listNetworks()["network"] if row["name"] == "guest-narrow")

    def asked(address: str) -> Any:
        cards = {"iptonetworklist[0].networkid": narrow, "iptonetworklist[0].ip": address}
        return deploy(user, ids, "narrow", startvm=False, networkids=None, **cards)

    for address in ("10.60.0.101", "10.60.0.20"):  # the router's; in the network, and not in its range
        refused(530, lambda address=address: asked(address), in_job=False)
    made = asked("10.60.0.102")
    assert made["nic"][0]["ipaddress"] == "10.60.0.102"
    user.destroyVirtualMachine(id=made["id"], expunge=True)


def test_a_request_at_work_during_a_restart_is_broken_off(double: Double, user: CloudStack) -> None:
    double.control("POST", "/lab/faults", command="listZones", mode="slow", seconds=30)
    failed: list[Exception] = []

    def ask() -> None:
        try:
            double.api(PLAIN, timeout=20).listZones()
        except Exception as error:
            failed.append(error)

    from threading import Thread

    thread = Thread(target=ask)
    thread.start()
    eventually("it was asked", lambda: not any(f["count"] for f in double.control("GET", "/lab/faults")), 10)
    time.sleep(0.05)
    double.control("POST", "/lab/restart", seconds=0.2)
    thread.join(15)
    assert isinstance(failed[0], requests.exceptions.ConnectionError)
