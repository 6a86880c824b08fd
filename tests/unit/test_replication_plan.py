"""Whether a disk is copied in full or by what changed: every rule, and what becomes of an interrupted copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from migratekit_core.adapters.vsphere.inventory import Disk
from migratekit_core.common.units import GIB
from migratekit_core.db.models.oma import ReplicationCheckpoint, VmDisk
from migratekit_core.services.replication.plan import DiskPlan, Resume, fits, plan_disk

DISK = Disk(
    key=2000,
    label="Hard disk 1",
    unit_number=0,
    controller="SCSI 0",
    capacity_bytes=10 * GIB,
    path="[ds] vm/vm.vmdk",
    datastore="ds",
    provisioning="thin",
    mode="persistent",
    change_id="epoch-1/9",
    backing="FlatVer2",
    has_parent=False,
)


def known(**fields: Any) -> VmDisk:
    defaults: dict[str, Any] = {
        "job_id": "j",
        "disk_id": "2000",
        "vmdk_path": "p",
        "size_gb": 10,
        "datastore": "ds",
        "unit_number": 0,
        "label": "Hard disk 1",
        "capacity_bytes": 10 * GIB,
        "provisioning_type": "thin",
        "ossea_volume_id": "vol-1",
        "disk_change_id": "epoch-1/5",
        "sync_status": "completed",
    }
    return VmDisk(**(defaults | fields))


def left(**fields: Any) -> ReplicationCheckpoint:
    defaults: dict[str, Any] = {
        "volume_id": "vol-1",
        "job_id": "j",
        "base_change_id": "epoch-1/5",
        "snapshot_change_id": "epoch-1/7",
        "position": 4096,
    }
    return ReplicationCheckpoint(**(defaults | fields))


GOES_ON = Resume("epoch-1/7", 4096)


@pytest.mark.parametrize(
    ("disk", "held", "checkpoint", "expected"),
    [
        pytest.param(DISK, None, None, (True, "*", None), id="never seen"),
        pytest.param(DISK, None, left(), (True, "*", None), id="never seen, a checkpoint of somebody else's"),
        pytest.param(DISK, known(ossea_volume_id=None), None, (True, "*", None), id="no volume"),
        pytest.param(
            DISK, known(ossea_volume_id=None), left(), (True, "*", None), id="no volume, checkpoint of a lost one"
        ),
        pytest.param(DISK, known(), None, (False, "epoch-1/5", None), id="incremental"),
        pytest.param(
            replace(DISK, change_id="epoch-1/5"), known(), None, (False, "epoch-1/5", None), id="nothing happened"
        ),
        pytest.param(DISK, known(), left(), (False, "epoch-1/5", GOES_ON), id="incremental goes on"),
        pytest.param(DISK, known(), left(position=0), (False, "epoch-1/5", None), id="nothing was done yet"),
        pytest.param(
            DISK, known(), left(volume_id="vol-2"), (False, "epoch-1/5", None), id="checkpoint of another volume"
        ),
        pytest.param(
            DISK, known(), left(base_change_id="epoch-1/4"), (False, "epoch-1/5", None), id="checkpoint, older base"
        ),
        pytest.param(
            DISK, known(), left(base_change_id=None), (False, "epoch-1/5", None), id="checkpoint of a full copy before"
        ),
        pytest.param(
            DISK,
            known(),
            left(snapshot_change_id="epoch-0/7"),
            (False, "epoch-1/5", None),
            id="checkpoint of another epoch",
        ),
        pytest.param(DISK, known(disk_change_id=None), None, (True, "*", None), id="first sync never ended"),
        pytest.param(
            DISK,
            known(disk_change_id=None),
            left(base_change_id=None),
            (True, "*", GOES_ON),
            id="first sync goes on",
        ),
        pytest.param(
            DISK,
            known(disk_change_id=None),
            left(base_change_id=None, snapshot_change_id="epoch-0/7"),
            (True, "*", None),
            id="first sync, epoch lost meanwhile",
        ),
        pytest.param(
            DISK, known(disk_change_id=None), left(), (True, "*", None), id="checkpoint of an increment, base unknown"
        ),
        pytest.param(replace(DISK, capacity_bytes=11 * GIB), known(), None, (True, "*", None), id="grown"),
        pytest.param(replace(DISK, capacity_bytes=11 * GIB), known(), left(), (True, "*", None), id="grown, resumed"),
        pytest.param(replace(DISK, capacity_bytes=9 * GIB), known(), None, (True, "*", None), id="shrunk"),
        pytest.param(replace(DISK, change_id="epoch-2/1"), known(), None, (True, "*", None), id="another epoch"),
        pytest.param(
            replace(DISK, change_id="epoch-2/1"), known(), left(), (True, "*", None), id="another epoch, old checkpoint"
        ),
        pytest.param(
            replace(DISK, change_id="epoch-2/3"),
            known(),
            left(snapshot_change_id="epoch-2/1"),
            (True, "*", Resume("epoch-2/1", 4096)),
            id="another epoch, its full copy goes on",
        ),
        pytest.param(
            replace(DISK, change_id="epoch-1"), known(disk_change_id="epoch-1/5"), None, (True, "*", None),
            id="a change id without a number",
        ),
        pytest.param(
            replace(DISK, change_id="epoch-1/4"), known(disk_change_id="epoch-1/5"), None, (True, "*", None),
            id="a number that went back: the machine was reverted",
        ),
        pytest.param(
            replace(DISK, change_id="epoch-10/9"), known(), None, (True, "*", None), id="an epoch that begins alike"
        ),
    ],
)  # fmt: skip
def test_plan(
    disk: Disk,
    held: VmDisk | None,
    checkpoint: ReplicationCheckpoint | None,
    expected: tuple[bool, str, Resume | None],
) -> None:
    plan = plan_disk(disk, held, checkpoint)
    assert (plan.full, plan.base, plan.resume) == expected
    assert plan.reason


def test_the_reasons_tell_the_rules_apart() -> None:
    plans: list[DiskPlan] = [
        plan_disk(DISK, None, None),
        plan_disk(replace(DISK, capacity_bytes=11 * GIB), known(), None),
        plan_disk(DISK, known(disk_change_id=None), None),
        plan_disk(DISK, known(disk_change_id=None), left(base_change_id=None)),
        plan_disk(replace(DISK, change_id="epoch-2/1"), known(), None),
        plan_disk(DISK, known(), None),
    ]
    assert len({plan.reason for plan in plans}) == len(plans)
    assert str(10 * GIB) in plans[1].reason


@pytest.mark.parametrize(
    ("size_gb", "capacity", "does"),
    [
        (10, 10 * GIB, True),
        (10, 10 * GIB + 1, False),
        (11, 10 * GIB + 512, True),
        (10, 512, True),
        (10, 11 * GIB, False),
    ],
)
def test_whether_a_disk_fits_its_volume(size_gb: int, capacity: int, does: bool) -> None:
    assert fits(known(size_gb=size_gb), replace(DISK, capacity_bytes=capacity)) is does
