"""When a machine of the double takes or gives no volume: it is full, has snapshots, or a backup offering."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cs import CloudStack

from tests.integration.cloud_double import PLAIN, Double, Ids, blank, deploy, find_ids, refused, root_of, running


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("machines"), "--job-seconds", "0.01") as double:
        yield double


@pytest.fixture
def double(shared: Double) -> Iterator[Double]:
    yield shared
    shared.control("DELETE", "/lab/settings")


@pytest.fixture
def user(double: Double) -> CloudStack:
    return double.api(PLAIN)


@pytest.fixture(scope="module")
def ids(shared: Double) -> Ids:
    return find_ids(shared)


def volumes(user: CloudStack, ids: Ids, count: int) -> list[str]:
    return [blank(user, ids)["id"] for _ in range(count)]


def test_the_number_of_data_disks_is_a_setting(double: Double, user: CloudStack, ids: Ids) -> None:
    double.settings(max_data_volumes=2)
    machine, disks = deploy(user, ids, "full")["id"], volumes(user, ids, 3)
    for disk in disks[:2]:
        user.attachVolume(id=disk, virtualmachineid=machine)
    error = refused(431, user.attachVolume, in_job=True, id=disks[2], virtualmachineid=machine)
    assert error["errortext"] == (
        "The specified VM already has the maximum number of data disks (2) attached. Please specify another VM."
    )
    error = refused(530, lambda: user.attachVolume(id=user.detachVolume(id=disks[0])["volume"]["id"],
                                                   virtualmachineid=machine, deviceid=5), in_job=True)  # fmt: skip
    assert error["errortext"] == "deviceId should be 0,1,2,4-3"
    limit = double.api().listHypervisorCapabilities(hypervisor="KVM")["hypervisorCapabilities"][0]
    assert limit["maxdatavolumeslimit"] == 2
    refused(432, user.listHypervisorCapabilities)
    user.destroyVirtualMachine(id=machine, expunge=True)
    for disk in disks:
        user.deleteVolume(id=disk)


def test_a_running_uefi_machine_has_two_slots(double: Double, user: CloudStack, ids: Ids) -> None:
    disks = volumes(user, ids, 4)
    machine = deploy(user, ids, "uefi", boottype="UEFI", bootmode="LEGACY")["id"]
    for disk in disks[:2]:
        user.attachVolume(id=disk, virtualmachineid=machine)
    error = refused(530, user.attachVolume, in_job=True, id=disks[2], virtualmachineid=machine)
    assert "org.libvirt.LibvirtException: internal error: No more available PCI slots" in error["errortext"]
    left = user.listVolumes(id=disks[2])["volume"][0]
    assert left["state"] == "Ready" and "virtualmachineid" not in left
    user.detachVolume(id=disks[0])
    user.attachVolume(id=disks[2], virtualmachineid=machine)
    user.stopVirtualMachine(id=machine)
    user.attachVolume(id=disks[0], virtualmachineid=machine)  # stopped, it takes as many as any
    user.startVirtualMachine(id=machine)
    user.attachVolume(id=disks[3], virtualmachineid=machine)  # what it started with does not count
    double.settings(uefi_slots=1)
    user.detachVolume(id=disks[3])
    user.attachVolume(id=disks[3], virtualmachineid=machine)
    user.destroyVirtualMachine(id=machine, expunge=True)
    for disk in disks:
        user.deleteVolume(id=disk)


def test_the_oma_can_be_a_uefi_machine(double: Double, ids: Ids) -> None:
    api = double.api()
    assert "boottype" not in api.listVirtualMachines(id=ids.oma)["virtualmachine"][0]
    double.settings(oma_uefi=True)
    assert api.listVirtualMachines(id=ids.oma)["virtualmachine"][0]["boottype"] == "Uefi"
    disks = volumes(api, ids, 3)
    for disk in disks[:2]:
        api.attachVolume(id=disk, virtualmachineid=ids.oma)
    refused(530, api.attachVolume, in_job=True, id=disks[2], virtualmachineid=ids.oma)
    for disk in disks[:2]:
        api.detachVolume(id=disk)
    for disk in disks:
        api.deleteVolume(id=disk)


def test_a_machine_with_a_vm_snapshot_takes_and_gives_no_volume(double: Double, user: CloudStack, ids: Ids) -> None:
    machine, (held, free) = deploy(user, ids, "snapshotted")["id"], volumes(user, ids, 2)
    user.attachVolume(id=held, virtualmachineid=machine)
    snapshot = user.createVMSnapshot(virtualmachineid=machine, name="before")["vmsnapshot"]
    assert (snapshot["state"], snapshot["displayname"], snapshot["type"]) == ("Ready", "before", "Disk")
    assert user.listVMSnapshot(virtualmachineid=machine)["vmSnapshot"][0]["id"] == snapshot["id"]
    error = refused(431, user.attachVolume, in_job=True, id=free, virtualmachineid=machine)
    assert error["errortext"].endswith("please specify a VM that does not have VM snapshots")
    error = refused(431, user.detachVolume, in_job=True, id=held)
    assert error["errortext"] == "Unable to detach volume, please specify a VM that does not have VM snapshots"
    refused(432, user.resizeVolume, in_job=True, id=held, size=3)
    user.deleteSnapshot(id=user.createSnapshot(volumeid=held)["snapshot"]["id"])  # that goes
    user.deleteVMSnapshot(vmsnapshotid=snapshot["id"])
    user.detachVolume(id=held)
    user.destroyVirtualMachine(id=machine, expunge=True)
    for disk in (held, free):
        user.deleteVolume(id=disk)


def test_a_machine_with_a_backup_offering_takes_and_gives_no_volume(double: Double, user: CloudStack, ids: Ids) -> None:
    machine, (held, free) = deploy(user, ids, "backed-up")["id"], volumes(user, ids, 2)
    user.attachVolume(id=held, virtualmachineid=machine)
    double.control("POST", "/lab/backup", vm="backed-up")
    assert user.listVirtualMachines(id=machine)["virtualmachine"][0]["backupofferingname"] == "gold"
    error = refused(431, user.attachVolume, in_job=True, id=free, virtualmachineid=machine)
    assert "please specify a VM that does not have any backups" in error["errortext"]
    error = refused(431, user.detachVolume, in_job=True, id=held)
    assert "cannot detach volume from a VM that has backups" in error["errortext"]
    double.control("POST", "/lab/backup", vm="backed-up", on=False)
    user.detachVolume(id=held)
    assert root_of(user, machine)["state"] == "Ready"
    user.destroyVirtualMachine(id=machine, expunge=True)
    for disk in (held, free):
        user.deleteVolume(id=disk)
