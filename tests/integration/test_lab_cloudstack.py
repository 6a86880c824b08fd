"""The lab's CloudStack keeps the rules of the real one: each rule is broken once here, and the whole life is lived.

A lab that is kinder than the real server lets the product pass tests and fail in the field, so these tests are about
refusals as much as about what works. `cs` and its command line are the clients, as they are in the product.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from cs import CloudStack

from tests.integration.cloud_double import (
    ACCOUNTS,
    GIB,
    ROOT,
    Double,
    Ids,
    blank,
    deploy,
    find_ids,
    refused,
    root_of,
    running,
    serial,
    write,
)
from tests.integration.support import eventually

pytestmark = pytest.mark.bad_requests


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("cloudstack"), "--job-seconds", "0.01") as lab:
        yield lab


@pytest.fixture
def lab(shared: Double) -> Iterator[Double]:
    yield shared
    shared.control("DELETE", "/lab/faults")
    shared.control("POST", "/lab/full", bytes=None)
    shared.control("DELETE", "/lab/settings")


@pytest.fixture
def api(lab: Double) -> CloudStack:
    return lab.api()


@pytest.fixture(scope="module")
def ids(shared: Double) -> Ids:
    return find_ids(shared)


# --- who may call -----------------------------------------------------------------------------------------------


def test_signature_expiry_and_roles(lab: Double, api: CloudStack) -> None:
    wrong = CloudStack(lab.url, key="admin-key", secret="wrong", fetch_result=True)
    error = refused(401, wrong.listZones)
    assert error["uuidList"] == [] and "cserrorcode" not in error
    refused(401, lab.api(expiration=0).listZones, expires="2020-01-01T00:00:00+0000", signatureVersion="3")
    refused(401, CloudStack(lab.url, key="nobody", secret="x").listZones)
    refused(401, api.noSuchCommand)
    assert "errorresponse" in requests.get(lab.url, timeout=5, params={"command": "noSuchCommand"}).json()
    assert "listzonesresponse" in requests.get(lab.url, timeout=5, params={"command": "listZones"}).json()
    assert lab.api(expiration=-1).listZones()["count"] == 2  # version 1 signatures do not expire
    assert lab.api(method="post").listVolumes(name="a b*ü+/&=%") == {}
    refused(401, api.listVolumes, name="a~b")  # Java escapes the tilde before it signs, cs does not
    refused(432, lab.api(1).deleteVolume, id="x")
    refused(432, lab.api(1).listStoragePools)
    names = {entry["name"] for entry in lab.api(1).listApis()["api"]}
    assert "createVolume" in names and not {"deleteVolume", "listStoragePools"} & names
    refused(530, lab.api(1).listApis, name="deleteVolume")


def test_command_line(lab: Double, tmp_path: Path) -> None:
    environment = os.environ | {
        "CLOUDSTACK_ENDPOINT": lab.url, "CLOUDSTACK_KEY": "admin-key", "CLOUDSTACK_SECRET": "admin-secret",
        "CLOUDSTACK_POLL_INTERVAL": "0.02",
    }  # fmt: skip
    run = [sys.executable, "-m", "cs"]
    options: dict[str, Any] = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True}
    done = subprocess.run([*run, "listZones"], timeout=20, check=True, **options)
    zone = json.loads(done.stdout)["zone"][0]
    offering = lab.api().listDiskOfferings(name="Custom")["diskoffering"][0]["id"]
    arguments = ["createVolume", "name=by-cli", f"zoneid={zone['id']}", f"diskofferingid={offering}", "size=2"]
    done = subprocess.run([*run, *arguments], timeout=20, check=True, **options)
    assert json.loads(done.stdout)["volume"]["size"] == 2 * GIB
    done = subprocess.run([*run, "deleteVolume", "id=nothing"], timeout=20, check=False, **options)
    assert done.returncode and json.loads(done.stdout)["deletevolumeresponse"]["errorcode"] == 431


def test_discovery_lists_and_paging(lab: Double, api: CloudStack, ids: Ids) -> None:
    [deploy_api] = api.listApis(name="deployVirtualMachine")["api"]
    parameters = {parameter["name"]: parameter for parameter in deploy_api["params"]}
    assert deploy_api["isasync"] and parameters["volumeid"]["since"] == "4.21"
    assert not parameters["templateid"]["required"] and parameters["zoneid"]["required"]
    assert api.listCapabilities()["capability"]["cloudstackversion"] == "4.22.0.0"
    names = [system["description"] for system in api.listOsTypes(fetch_list=True)]
    assert {"Debian GNU/Linux 12 (64-bit)", "Windows Server 2022 (64-bit)", "Other (64-bit)"} <= set(names)
    refused(431, api.listTemplates)
    refused(431, api.listTemplates, templatefilter="wrong")
    assert api.listStoragePools()["storagepool"][0]["scope"] == "ZONE"
    assert api.listHosts()["count"] == api.listDomains()["count"] == api.listAccounts()["count"] == 1
    assert api.listAccounts(listall=True)["count"] == 4
    limits = {row["resourcetypename"]: row["max"] for row in lab.api(1).listResourceLimits()["resourcelimit"]}
    assert limits["primary_storage"] == 10
    made = [blank(api, ids, name=f"page-{number}")["id"] for number in range(3)]
    first = api.listVolumes(keyword="page-", page=1, pagesize=2)
    assert first["count"] == 3 and len(first["volume"]) == 2
    assert api.listVolumes(keyword="page-", page=3, pagesize=2) == {"count": 3}
    assert len(api.listVolumes(keyword="PAGE-", fetch_list=True, pagesize=2)) == 3
    assert api.listVolumes(ids=made[:2])["count"] == 2
    refused(431, api.listVolumes, page=1, pagesize=501)
    refused(431, api.listVolumes, page="first")
    refused(431, api.listVolumes, id="00000000-0000-0000-0000-000000000000")
    for volume_id in made:
        assert api.deleteVolume(id=volume_id) == {"success": True}
    assert api.listVolumes(id=made[0]) == {}  # known once, so no error: just nothing
    assert api.listNics(virtualmachineid=ids.oma)["nic"][0]["deviceid"] == "0"
    refused(431, api.listNics)


def test_job_answer(lab: Double, ids: Ids) -> None:
    api = lab.api(fetch_result=False)  # else cs follows the job id in the answer of queryAsyncJobResult itself
    answer = api.createVolume(diskofferingid=ids.disk, size=1, zoneid=ids.zone)
    assert set(answer) == {"id", "jobid"}
    while (job := api.queryAsyncJobResult(jobid=answer["jobid"]))["jobstatus"] == 0:
        assert "jobresult" not in job and "completed" not in job
        time.sleep(0.01)
    assert (job["jobstatus"], job["jobresultcode"], job["jobresulttype"]) == (1, 0, "object")
    assert (job["jobinstancetype"], job["jobinstanceid"]) == ("Volume", answer["id"])
    assert {"created", "completed", "cmd", "accountid", "userid"} <= set(job)
    failed = api.detachVolume(id=answer["id"])
    assert set(failed) == {"jobid"}
    while (job := api.queryAsyncJobResult(jobid=failed["jobid"]))["jobstatus"] == 0:
        time.sleep(0.01)
    assert (job["jobstatus"], job["jobresultcode"], job["jobresult"]["errorcode"]) == (2, 431, 431)
    refused(431, api.queryAsyncJobResult, jobid="nothing")
    api.deleteVolume(id=answer["id"])


# --- the rules of volumes ---------------------------------------------------------------------------------------


def test_create_volume_rules(lab: Double, api: CloudStack, ids: Ids) -> None:
    refused(431, api.createVolume, in_job=False, zoneid=ids.zone)
    refused(431, api.createVolume, zoneid=ids.zone, diskofferingid=ids.disk)  # custom without size
    refused(431, api.createVolume, zoneid=ids.zone, diskofferingid=ids.disk, size=0)
    refused(431, api.createVolume, zoneid=ids.zone, diskofferingid=ids.disk, size=1025)
    refused(431, api.createVolume, zoneid=ids.zone, diskofferingid=ids.fixed_disk, size=5)
    refused(431, api.createVolume, zoneid="nowhere", diskofferingid=ids.fixed_disk)
    fixed = api.createVolume(zoneid=ids.zone, diskofferingid=ids.fixed_disk)["volume"]
    assert (fixed["size"], fixed["state"], fixed["type"]) == (5 * GIB, "Allocated", "DATADISK")
    assert not lab.file(fixed["id"]).exists() and "storageid" not in fixed and "deviceid" not in fixed
    user = lab.api(1)
    refused(535, user.createVolume, zoneid=ids.zone, diskofferingid=ids.disk, size=11)
    mine = [blank(user, ids)["id"], blank(user, ids)["id"]]
    refused(535, user.createVolume, zoneid=ids.zone, diskofferingid=ids.disk, size=1)
    assert user.listVolumes()["count"] == 2 and "storageid" not in user.listVolumes()["volume"][0]
    refused(531, user.createSnapshot, volumeid=root_of(api, ids.oma)["id"])
    lab.control("POST", "/lab/full", bytes=GIB)
    refused(533, api.createVolume, in_job=False, zoneid=ids.zone, diskofferingid=ids.disk, size=2)
    lab.control("POST", "/lab/full", bytes=0)
    refused(530, api.attachVolume, in_job=True, id=fixed["id"], virtualmachineid=ids.oma)
    for volume_id in (fixed["id"], *mine):
        api.deleteVolume(id=volume_id)


def test_attach_and_detach_rules(lab: Double, api: CloudStack, ids: Ids) -> None:
    volume = blank(api, ids)["id"]
    attach, detach = api.attachVolume, api.detachVolume
    elsewhere = blank(api, ids, zoneid=ids.other_zone)["id"]
    refused(431, attach, in_job=False, id=volume)
    refused(431, attach, in_job=False, id="nothing", virtualmachineid=ids.oma)
    refused(431, attach, in_job=True, id=elsewhere, virtualmachineid=ids.oma)
    refused(431, attach, in_job=True, id=volume, virtualmachineid=ids.oma, deviceid=0)  # running
    refused(530, attach, in_job=True, id=volume, virtualmachineid=ids.oma, deviceid=3)  # the CD-ROM's
    refused(530, attach, in_job=True, id=volume, virtualmachineid=ids.oma, deviceid=34)
    refused(431, detach, in_job=True, id=volume)  # not attached
    refused(431, detach, in_job=True)
    attached = attach(id=volume, virtualmachineid=ids.oma, deviceid=2)["volume"]
    assert (attached["deviceid"], attached["state"], attached["vmname"]) == (2, "Ready", "oma01")
    refused(431, attach, in_job=True, id=volume, virtualmachineid=ids.oma)  # attached already
    other = blank(api, ids)["id"]
    refused(530, attach, in_job=True, id=other, virtualmachineid=ids.oma, deviceid=2)  # taken
    refused(431, api.deleteVolume, in_job=False, id=volume)
    refused(431, detach, in_job=True, id=root_of(api, ids.oma)["id"])  # the root of a running machine
    refused(530, detach, in_job=True, virtualmachineid=ids.oma, deviceid=2)  # documented, and broken in 4.22
    detached = detach(id=volume)["volume"]
    assert "virtualmachineid" not in detached and "deviceid" not in detached and detached["state"] == "Ready"
    for volume_id in (volume, other, elsewhere):
        api.deleteVolume(id=volume_id)
    refused(431, attach, in_job=True, id=volume, virtualmachineid=ids.oma)  # deleted


def test_at_most_thirty_two_data_volumes(lab: Double, api: CloudStack, ids: Ids) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: blank(lab.api(), ids)["id"], range(33)))
        devices = list(
            pool.map(lambda v: lab.api().attachVolume(id=v, virtualmachineid=ids.oma)["volume"]["deviceid"], made[:32])
        )
        assert sorted(devices) == [1, 2, *range(4, 34)]
        error = refused(431, api.attachVolume, in_job=True, id=made[32], virtualmachineid=ids.oma)
        assert "the maximum number of data disks (32) attached" in error["errortext"]
        assert len(lab.devices(ids.oma)) == 33
        list(pool.map(lambda v: lab.api().detachVolume(id=v), made[:32]))
    for volume_id in made:
        api.deleteVolume(id=volume_id)
    assert lab.devices(ids.oma) == {serial(root_of(api, ids.oma)["id"])}


def test_resize_and_snapshot_rules(lab: Double, api: CloudStack, ids: Ids) -> None:
    volume = blank(api, ids)["id"]
    error = refused(431, api.createSnapshot, in_job=False, volumeid=volume)  # no file yet
    assert error["cserrorcode"] == 4350
    assert api.resizeVolume(id=volume, size=2)["volume"]["size"] == 2 * GIB
    api.attachVolume(id=volume, virtualmachineid=ids.oma)
    assert api.resizeVolume(id=volume, size=3)["volume"]["size"] == lab.file(volume).stat().st_size == 3 * GIB
    refused(431, api.resizeVolume, in_job=True, id=volume, size=1)
    snapshot = api.createSnapshot(volumeid=volume, name="s", **{"tags[0].key": "job", "tags[0].value": "7"})["snapshot"]
    assert snapshot["state"] == "BackedUp" and snapshot["virtualsize"] == 3 * GIB
    assert api.listSnapshots(**{"tags[0].key": "job", "tags[0].value": "7"})["count"] == 1
    refused(431, api.createVolume, snapshotid=snapshot["id"], diskofferingid=ids.disk, size=3)  # of a DATADISK
    api.detachVolume(id=volume)
    api.deleteVolume(id=volume)  # a volume with snapshots may go
    again = api.createVolume(snapshotid=snapshot["id"])["volume"]
    assert (again["state"], again["snapshotid"], again["size"]) == ("Ready", snapshot["id"], 3 * GIB)
    assert api.deleteSnapshot(id=snapshot["id"]) == {"success": True}
    refused(431, api.deleteSnapshot, in_job=True, id=snapshot["id"])
    refused(431, api.createVolume, snapshotid=snapshot["id"])
    api.deleteVolume(id=again["id"])
    refused(531, lab.api(1).createSnapshot, in_job=False, volumeid=root_of(api, ids.oma)["id"])


# --- order, faults ----------------------------------------------------------------------------------------------


def test_a_volume_on_which_a_job_works(lab: Double, api: CloudStack, ids: Ids) -> None:
    volume = blank(api, ids)["id"]
    lab.control("POST", "/lab/faults", command="attachVolume", mode="slow", seconds=0.3)
    api.attachVolume(id=volume, virtualmachineid=ids.oma, fetch_result=False)
    listed = api.listVolumes(id=volume)["volume"][0]
    assert listed["jobstatus"] == 0 and "virtualmachineid" not in listed
    assert api.listAsyncJobs()["count"] == 1
    refused(530, api.deleteVolume, in_job=False, id=volume)
    refused(431, api.detachVolume, in_job=True, id=volume)  # not attached yet
    eventually("it is attached", lambda: "virtualmachineid" in api.listVolumes(id=volume)["volume"][0], 10)
    api.detachVolume(id=volume)
    api.deleteVolume(id=volume)


def test_faults(lab: Double, api: CloudStack, ids: Ids) -> None:
    def fault(command: str, mode: str, **more: Any) -> None:
        lab.control("POST", "/lab/faults", command=command, mode=mode, **more)

    with pytest.raises(urllib.error.HTTPError):
        fault("attachVolume", "misspelt")
    volume = blank(api, ids)["id"]
    where = {"id": volume, "virtualmachineid": ids.oma}
    fault("attachVolume", "error", errorcode=534, text="host down")
    assert refused(534, api.attachVolume, in_job=False, **where)["errortext"] == "host down"
    fault("attachVolume", "job-fails", errorcode=530)
    refused(530, api.attachVolume, in_job=True, **where)
    fault("attachVolume", "drop-before")
    with pytest.raises(requests.exceptions.ConnectionError):
        api.attachVolume(**where)
    assert "virtualmachineid" not in api.listVolumes(id=volume)["volume"][0]
    fault("attachVolume", "no-device")
    api.attachVolume(**where)
    assert serial(volume) not in lab.devices(ids.oma)
    fault("detachVolume", "hang-after-work", seconds=0.1)
    with pytest.raises(requests.exceptions.ConnectionError):
        api.detachVolume(id=volume)
    fault("attachVolume", "dashed-serial")
    api.attachVolume(**where)  # waits for the detach that was never answered
    assert f"virtio-{volume[:20]}" in lab.devices(ids.oma)
    fault("detachVolume", "job-vanishes")
    refused(431, api.detachVolume, in_job=False, id=volume)  # its work is done, its job is gone
    fault("listZones", "slow", seconds=0.2, count=2)
    before = time.monotonic()
    api.listZones()
    assert time.monotonic() - before > 0.2
    assert [left["count"] for left in lab.control("GET", "/lab/faults") if left["mode"] == "slow"] == [1]
    while "virtualmachineid" in api.listVolumes(id=volume)["volume"][0]:
        time.sleep(0.01)
    api.deleteVolume(id=volume)
    assert lab.control("GET", "/lab/calls")["attachVolume"] >= 5
    events = lab.control("GET", "/lab/state")["events"]
    assert all("signature" not in event["params"] for event in events)
    assert [e["params"]["id"] for e in events if e["command"] == "deleteVolume"][-1] == volume


# --- the whole life, and other clouds ---------------------------------------------------------------------------


def test_whole_life(lab: Double, api: CloudStack, ids: Ids) -> None:
    """Replicate two disks, rehearse, cut over by swapping the root of a template machine, destroy: nothing is left."""
    before = [set(map(str, lab.state.rglob("*"))), api.listVolumes(listall=True)["count"]]
    root, data = blank(api, ids, 2, name="w-0")["id"], blank(api, ids, 1, name="w-1")["id"]
    for volume in (root, data):
        api.attachVolume(id=volume, virtualmachineid=ids.oma)
        write(lab, ids.oma, volume, GIB // 2, f"content of {volume}".encode())
    assert lab.file(root).stat().st_size == 2 * GIB and lab.file(root).stat().st_blocks * 512 < 1 << 20

    snapshot = api.createSnapshot(volumeid=root)["snapshot"]["id"]
    with lab.file(root).open("r+b") as device:
        device.write(b"after the snapshot")
    copy = api.createVolume(snapshotid=snapshot, name="rehearsal")["volume"]["id"]
    with lab.file(copy).open("rb") as device:
        assert device.read(18) == bytes(18)
        device.seek(GIB // 2)
        assert device.read(64).startswith(f"content of {root}".encode())
    assert lab.file(copy).stat().st_blocks * 512 < 1 << 20
    api.deleteVolume(id=copy)
    api.deleteSnapshot(id=snapshot)

    for volume in (root, data):
        api.detachVolume(id=volume)
    assert lab.devices(ids.oma) == {serial(root_of(api, ids.oma)["id"])}
    vm = deploy(api, ids, "w", startvm=False)["id"]
    shell_root = root_of(api, vm)["id"]
    api.detachVolume(id=shell_root)
    api.deleteVolume(id=shell_root)
    assert api.attachVolume(id=root, virtualmachineid=vm, deviceid=0)["volume"]["type"] == "ROOT"
    assert api.attachVolume(id=data, virtualmachineid=vm)["volume"]["deviceid"] == 1
    started = api.startVirtualMachine(id=vm)["virtualmachine"]
    assert (started["state"], started["rootdeviceid"], started["hostname"]) == ("Running", 0, "lab-kvm-1")
    assert lab.devices(vm) == {serial(root), serial(data)}
    api.destroyVirtualMachine(id=vm, expunge=True, volumeids=data)
    assert [set(map(str, lab.state.rglob("*"))), api.listVolumes(listall=True)["count"]] == before


def test_older_and_slower_cloud(tmp_path: Path, ids: Ids) -> None:
    flags = ("--no-volumeid", "--no-kvm-snapshot", "--attach-delay", "0.3", "--job-seconds", "0")
    with running(tmp_path, *flags) as lab:
        api = lab.api()
        [deploy_api] = api.listApis(name="deployVirtualMachine")["api"]
        parameters = {parameter["name"]: parameter for parameter in deploy_api["params"]}
        assert not {"volumeid", "snapshotid"} & set(parameters) and parameters["templateid"]["required"]
        assert api.listCapabilities()["capability"]["cloudstackversion"] == "4.20.1.0"
        volume = blank(api, ids)["id"]
        refused(431, lambda: deploy(api, ids, "old", volumeid=volume))
        api.attachVolume(id=volume, virtualmachineid=ids.oma)
        assert serial(volume) not in lab.devices(ids.oma)
        refused(530, api.createSnapshot, in_job=False, volumeid=volume)  # the OMA runs
        for _ in range(100):
            if serial(volume) in lab.devices(ids.oma):
                break
            time.sleep(0.02)
        assert serial(volume) in lab.devices(ids.oma)
        api.detachVolume(id=volume)
        made = api.createSnapshot(volumeid=volume)["snapshot"]
        assert made["state"] == "Allocated"  # of a detached volume the job says so, though it is done
        assert api.listSnapshots(id=made["id"])["snapshot"][0]["state"] == "BackedUp"


def test_cluster_wide_storage_has_no_deploy_from_volume(tmp_path: Path, ids: Ids) -> None:
    with running(tmp_path, "--pool-scope", "CLUSTER", "--job-seconds", "0") as lab:
        api = lab.api()
        shell = deploy(api, ids, "shell")["id"]
        api.stopVirtualMachine(id=shell)
        root = api.detachVolume(id=root_of(api, shell)["id"])["volume"]
        assert root["state"] == "Ready" and root["templateid"] == ids.template
        refused(431, lambda: deploy(api, ids, "adopt", volumeid=root["id"]), in_job=False)


def test_keys_others_can_read_are_refused(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"accounts": ACCOUNTS}))
    keys.chmod(0o644)
    command = [sys.executable, "-m", "tests.lab.cloudstack", "--state", str(tmp_path), "--keys", str(keys)]
    assert subprocess.run(command, cwd=ROOT, timeout=20, check=False, capture_output=True).returncode == 1
