"""Which volume is the replica of which disk, after disks moved, were copied, were replaced, or came from 0.1.0."""

from __future__ import annotations

from dataclasses import replace

import pytest

from migratekit_core.adapters.vsphere.inventory import Disk
from migratekit_core.adapters.vsphere.snapshots import Owner
from migratekit_core.db.models.oma import VmDisk
from migratekit_core.services.replication.matching import matched
from tests.unit.test_replication_plan import DISK, known

UUIDS = {"vol-a": "uuid-a", "vol-b": "uuid-b"}


def disk(key: int, uuid: str) -> Disk:
    return replace(DISK, key=key, uuid=uuid)


def row(key: int, volume: str | None) -> VmDisk:
    return known(disk_id=str(key), ossea_volume_id=volume)


BOTH = (row(2000, "vol-a"), row(2001, "vol-b"))


@pytest.mark.parametrize(
    ("disks", "rows", "uuids", "expected"),
    [
        pytest.param([disk(2000, "uuid-a")], BOTH, UUIDS, {2000: "vol-a"}, id="as it was, one was removed"),
        pytest.param(
            [disk(2000, "uuid-b"), disk(2001, "uuid-a")], BOTH, UUIDS, {2000: "vol-b", 2001: "vol-a"}, id="swapped"
        ),
        pytest.param([disk(2000, "uuid-b")], BOTH, UUIDS, {2000: "vol-b"}, id="moved into a removed one's slot"),
        pytest.param([disk(2007, "uuid-a")], BOTH, UUIDS, {2007: "vol-a"}, id="moved"),
        pytest.param([disk(2007, "uuid-c")], BOTH, UUIDS, {}, id="a new one"),
        pytest.param(
            [disk(2000, "uuid-c"), disk(2001, "uuid-b")], BOTH, UUIDS, {2000: "vol-a", 2001: "vol-b"}, id="replaced"
        ),
        pytest.param(
            [disk(2000, "uuid-a"), disk(2001, "uuid-b")], BOTH, {}, {2000: "vol-a", 2001: "vol-b"}, id="from 0.1.0"
        ),
        pytest.param([disk(2001, "")], BOTH, UUIDS, {2001: "vol-b"}, id="vSphere names no uuid"),
        pytest.param(
            [disk(1999, "uuid-a"), disk(2000, "uuid-a")], BOTH[:1], UUIDS, {2000: "vol-a"}, id="a copy beside it"
        ),
        pytest.param([disk(2000, "uuid-a")], (row(2000, None),), {}, {2000: None}, id="its volume was deleted"),
    ],
)
def test_disks_and_their_volumes(
    disks: list[Disk], rows: tuple[VmDisk, ...], uuids: dict[str, str], expected: dict[int, str | None]
) -> None:
    assert {key: found.ossea_volume_id for key, found in matched(disks, rows, uuids).items()} == expected


JOB = "0aa4d8a2-54f5-4e06-8f31-0d7bd54fd6f0"


@pytest.mark.parametrize(
    ("name", "mine"),
    [
        (f"migratekit-0123456789ab-{JOB}", True),
        (f"migratekit-ba9876543210-{JOB}", False),
        (f"migratekit-{JOB}", True),
        ("migratekit-1aa4d8a2-54f5-4e06-8f31-0d7bd54fd6f0", False),
        ("migratekit-before the update", False),
        (f"backup migratekit-{JOB}", False),
    ],
)
def test_whose_a_snapshot_is(name: str, mine: bool) -> None:
    owner = Owner("0123456789ab", lambda job_id: job_id == JOB)
    assert owner.owns(name) is mine
    assert owner.owns(owner.name(JOB))
