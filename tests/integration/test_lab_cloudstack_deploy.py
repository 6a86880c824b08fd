"""The double's rules of machines: how they are deployed, from what, when their power and their tags change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cs import CloudStack, CloudStackApiException

from tests.integration.cloud_double import (
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

pytestmark = pytest.mark.bad_requests  # volumeid and snapshotid, without listApis


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


def test_deploy_rules(lab: Double, api: CloudStack, ids: Ids) -> None:
    def no(code: int, name: str = "rules-1", **params: Any) -> None:
        with pytest.raises(CloudStackApiException) as caught:
            deploy(api, ids, name, **params)
        assert caught.value.error["errorcode"] == code and caught.value.args[0] != "Job failure"

    volume = blank(api, ids)["id"]
    no(530, templateid=None)
    no(530, templateid=ids.template, volumeid=volume)
    no(431, networkids=None)
    no(431, serviceofferingid=ids.custom)
    no(431, name="under_score")
    no(431, name="1digit")
    no(431, boottype="UEFI")
    no(530, ipaddress="10.1.1.9")  # not in migration-test
    no(530, ipaddress="10.99.0.1")  # the gateway
    no(431, ipaddress="ten")
    no(431, macaddress="00:50:56")
    no(431, macaddress="01:50:56:00:00:01")  # a group address
    no(431, rootdisksize=0)
    vm = deploy(
        api, ids, "rules-1", startvm=False, serviceofferingid=ids.custom, boottype="UEFI", bootmode="Secure",
        networkids=None, details={"cpuNumber": 3, "memory": 2048},
        iptonetworklist=[
            {"networkid": ids.test, "ip": "10.99.0.77", "mac": "00:50:56:AA:BB:01"}, {"networkid": ids.prod},
        ],
    )  # fmt: skip
    assert (vm["state"], vm["cpunumber"], vm["memory"], vm["boottype"]) == ("Stopped", 3, 2048, "Uefi")
    first, second = vm["nic"]
    assert (first["ipaddress"], first["macaddress"], first["isdefault"]) == ("10.99.0.77", "00:50:56:aa:bb:01", True)
    assert second["networkname"] == "guest-prod" and not second["isdefault"]
    no(431)  # the name is taken in the network domain
    no(530, name="rules-2", ipaddress="10.99.0.77")
    no(431, name="rules-2", macaddress="00:50:56:aa:bb:01")
    user = lab.api(1)
    theirs = deploy(user, ids, "theirs", startvm=False)["id"]
    refused(535, lambda: deploy(user, ids, "more", startvm=False))
    lab.settings(allow_user_expunge=False)
    refused(530, user.destroyVirtualMachine, in_job=True, id=theirs, expunge=True)
    refused(531, user.destroyVirtualMachine, in_job=False, id=ids.oma)
    for vm_id in (vm["id"], theirs):
        api.destroyVirtualMachine(id=vm_id, expunge=True)
    api.deleteVolume(id=volume)


def test_deploy_from_volume_and_snapshot(lab: Double, api: CloudStack, ids: Ids) -> None:
    def no(name: str = "from-volume", **params: Any) -> None:
        refused(431, lambda: deploy(api, ids, name, **params), in_job=False)

    data = blank(api, ids)["id"]
    no(volumeid=data)  # Allocated: on no storage yet
    api.attachVolume(id=data, virtualmachineid=ids.oma)
    api.detachVolume(id=data)
    no(volumeid=data)  # Ready and detached, but of no template
    # What works is a root volume of a template machine, which keeps its template when it is taken off.
    shell = deploy(api, ids, "shell", startvm=False)["id"]
    root = root_of(api, shell)["id"]
    taken = api.detachVolume(id=root)["volume"]
    assert (taken["type"], taken["state"], taken["templateid"]) == ("DATADISK", "Allocated", ids.template)
    api.attachVolume(id=root, virtualmachineid=ids.oma)
    no(volumeid=root)  # attached
    write(lab, ids.oma, root, 0, b"boot me")
    api.detachVolume(id=root)
    no(volumeid=root, zoneid=ids.other_zone)
    vm = deploy(api, ids, "from-volume", volumeid=root)
    assert vm["state"] == "Running" and root_of(api, vm["id"])["id"] == root
    assert lab.devices(vm["id"]) == {serial(root)}
    no(name="second", volumeid=root)
    snapshot = api.createSnapshot(volumeid=root)["snapshot"]["id"]
    twin = deploy(api, ids, "from-snapshot", snapshotid=snapshot)
    with lab.file(root_of(api, twin["id"])["id"]).open("rb") as disk:
        assert disk.read(7) == b"boot me"
    for vm_id in (vm["id"], twin["id"], shell):
        api.destroyVirtualMachine(id=vm_id, expunge=True)
    api.deleteSnapshot(id=snapshot)
    api.deleteVolume(id=data)


def test_a_first_start_that_fails_destroys_even_an_adopted_volume(lab: Double, api: CloudStack, ids: Ids) -> None:
    shell = deploy(api, ids, "shell", startvm=False)["id"]
    root = root_of(api, shell)["id"]
    api.detachVolume(id=root)
    api.attachVolume(id=root, virtualmachineid=ids.oma)
    api.detachVolume(id=root)
    lab.control("POST", "/lab/faults", command="deployVirtualMachine", mode="job-fails", errorcode=533)
    refused(533, lambda: deploy(api, ids, "unlucky", volumeid=root), in_job=True)
    assert api.listVirtualMachines(name="unlucky")["virtualmachine"][0]["state"] == "Error"
    assert api.listVolumes(id=root) == {} and not lab.file(root).exists()
    api.expungeVirtualMachine(id=api.listVirtualMachines(name="unlucky")["virtualmachine"][0]["id"])
    api.destroyVirtualMachine(id=shell, expunge=True)


def test_power_and_destroy_rules(lab: Double, api: CloudStack, ids: Ids) -> None:
    vm = deploy(api, ids, "power")["id"]
    root, data = root_of(api, vm)["id"], blank(api, ids)["id"]
    refused(431, api.startVirtualMachine, in_job=True, id=vm)  # running
    assert api.updateVirtualMachine(id=vm, name="renamed")["virtualmachine"]["name"] == "renamed"  # though it runs
    refused(530, api.expungeVirtualMachine, in_job=True, id=vm)  # not destroyed
    api.attachVolume(id=data, virtualmachineid=vm)
    refused(431, api.destroyVirtualMachine, in_job=True, id=vm, volumeids=root)
    assert api.stopVirtualMachine(id=vm, forced=True)["virtualmachine"]["state"] == "Stopped"
    assert lab.devices(vm) == set()
    assert api.updateVirtualMachine(id=vm, name="renamed", displayname="R")["virtualmachine"]["name"] == "renamed"
    refused(431, api.updateVirtualMachine, id=vm, name="no_name")
    assert api.detachVolume(id=root)["volume"]["type"] == "DATADISK"
    refused(530, api.startVirtualMachine, in_job=True, id=vm)  # no root
    refused(431, api.attachVolume, in_job=True, id=root, virtualmachineid=ids.oma, deviceid=0)
    assert api.attachVolume(id=root, virtualmachineid=vm, deviceid=0)["volume"]["type"] == "ROOT"
    spare = blank(api, ids)["id"]
    refused(431, api.attachVolume, in_job=True, id=spare, virtualmachineid=vm, deviceid=0)  # has a root
    api.startVirtualMachine(id=vm)
    assert lab.devices(vm) == {serial(root), serial(data)}
    assert api.destroyVirtualMachine(id=vm)["virtualmachine"]["state"] == "Destroyed"
    assert "virtualmachineid" not in api.listVolumes(id=data)["volume"][0]
    refused(431, lambda: deploy(api, ids, "renamed"))  # a destroyed machine keeps its name
    refused(431, api.startVirtualMachine, in_job=True, id=vm)
    api.expungeVirtualMachine(id=vm)
    assert api.listVirtualMachines(id=vm) == {} and not lab.file(root).exists()
    for volume_id in (data, spare):
        api.deleteVolume(id=volume_id)


def test_tags(api: CloudStack, ids: Ids) -> None:
    volume = blank(api, ids)["id"]
    tag = {"resourceids": volume, "resourcetype": "Volume", "tags": [{"key": "migratekit", "value": "job-1"}]}
    assert api.createTags(**dict(tag)) == {"success": True}
    refused(530, api.createTags, in_job=True, **dict(tag))
    refused(431, api.createTags, in_job=True, **tag | {"resourceids": "nothing"})
    refused(431, api.createTags, in_job=True, **tag | {"resourcetype": "Moon"})
    refused(431, api.createTags, in_job=False, resourceids=volume, resourcetype="Volume")
    assert api.listVolumes(**{"tags[0].key": "migratekit", "tags[0].value": "job-1"})["volume"][0]["id"] == volume
    assert api.listVolumes(tags=[{"key": "migratekit", "value": "job-2"}]) == {}
    assert api.listTags(resourceid=volume)["tag"][0]["value"] == "job-1"
    assert api.deleteTags(**dict(tag)) == {"success": True}
    assert api.listTags(resourceid=volume) == {}
    api.deleteVolume(id=volume)
