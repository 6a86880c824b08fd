"""What makes an incremental sync impossible: another epoch, another size; and lists of changes that have pages."""

from __future__ import annotations

import random
from pathlib import Path

from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.integration.machines import overwrite
from tests.integration.support import (
    GIB,
    GRANULE,
    MIB,
    identical,
    nothing_left,
    report,
    volume_ids,
    vsphere,
)
from tests.lab.lab import Lab


def grow(lab: Lab, name: str, size: int) -> None:
    """Make a machine's first disk larger."""
    with vsphere(lab, name) as machine:
        disk = next(item for item in machine.config.hardware.device if isinstance(item, vim.vm.device.VirtualDisk))
        disk.capacityInBytes, disk.capacityInKB = size, size // 1024
        change = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
        WaitForTask(machine.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[change])))
    assert lab.vcenter.vm(name)["disks"][0]["capacity_bytes"] == size


def test_another_epoch_makes_the_next_sync_full_into_the_same_volume(lab: Lab) -> None:
    vm = "epoch01"
    report(lab, "replicate", vm)
    before = volume_ids(lab, vm)
    overwrite(lab.vcenter, vm, 0, 3 * MIB + 512, MIB, 1)
    lab.vcenter.discard(vm, 0, 5 * MIB, MIB)
    lab.vcenter.new_epoch(vm)
    done = report(lab, "replicate", vm)
    assert done["kind"] == "full"
    (disk,) = done["disks"]
    assert "another epoch" in disk["reason"]
    assert volume_ids(lab, vm) == before
    identical(lab, vm)
    assert report(lab, "replicate", vm)["kind"] == "incremental"
    nothing_left(lab, vm)


def test_a_grown_disk_is_copied_in_full_into_the_same_volume_while_it_fits(lab: Lab) -> None:
    vm = "grown01"
    report(lab, "replicate", vm)
    before = volume_ids(lab, vm)
    grow(lab, vm, 6 * MIB + 1024)
    overwrite(lab.vcenter, vm, 0, 5 * MIB, MIB + 1024, 2)
    done = report(lab, "replicate", vm)
    assert done["kind"] == "full"
    assert "resized" in done["disks"][0]["reason"]
    assert volume_ids(lab, vm) == before
    identical(lab, vm)
    nothing_left(lab, vm)


def test_a_disk_that_outgrew_its_volume_gets_a_larger_one(lab: Lab) -> None:
    vm = "outgrown01"
    report(lab, "replicate", vm)
    (before,) = volume_ids(lab, vm)
    grow(lab, vm, GIB + 2 * MIB)
    overwrite(lab.vcenter, vm, 0, GIB + MIB - 4096, 8192, 3)
    done = report(lab, "replicate", vm)
    assert done["kind"] == "full"
    (after,) = volume_ids(lab, vm)
    assert after != before
    volume = lab.cloud.volume(after)
    assert volume["size"] == 2 * GIB
    with Path(volume["file"]).open("rb") as found, lab.vcenter.flat_file(vm, 0).open("rb") as wanted:
        for offset, length in ((0, 5 * MIB), (GIB - MIB, 3 * MIB)):
            found.seek(offset)
            wanted.seek(offset)
            assert found.read(length).rstrip(b"\0") == wanted.read(length).rstrip(b"\0"), f"near {offset}"
    assert report(lab, "replicate", vm)["kind"] == "incremental"


def test_changes_on_more_pages_than_one(lab: Lab) -> None:
    vm = "pages01"
    report(lab, "replicate", vm)
    rng = random.Random(4)
    places = range(0, 280 * MIB, 2 * GRANULE)
    assert len(places) > 2_000
    for place in places:
        lab.vcenter.write(vm, 0, place + 4096, rng.randbytes(512))
    # The last one: what lies behind the last full page must not be lost.
    overwrite(lab.vcenter, vm, 0, 288 * MIB - 512, 512, 5)
    calls = lab.vcenter.http.delete("/lab/calls")
    assert calls.is_success
    done = report(lab, "replicate", vm)
    assert done["kind"] == "incremental"
    assert done["bytes_changed"] == (len(places) + 1) * GRANULE
    asked = lab.vcenter.http.get("/lab/calls").json()["calls"]
    assert asked["QueryChangedDiskAreas"] >= 2
    identical(lab, vm)
    nothing_left(lab, vm)
