"""Which disks can be read over https, which cannot and why, and where their files are."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from migratekit_core.config.schema import VCenter
from migratekit_core.config.secret import SecretSource
from migratekit_core.errors import PreconditionError
from migratekit_core.source.https import check, flat_url
from migratekit_core.vsphere.inventory import Disk

DISK = Disk(
    key=2000,
    label="Hard disk 1",
    unit_number=0,
    controller="SCSI 0",
    capacity_bytes=2**30,
    path="[LocalDS_0] web01/web01.vmdk",
    datastore="LocalDS_0",
    provisioning="thin",
    mode="persistent",
    change_id="u/1",
    backing="FlatVer2",
    has_parent=False,
)
VCENTER = VCenter(host="vc.example", port=8989, user="u", password=SecretSource(env="P"))


@pytest.mark.parametrize("disk", [DISK, replace(DISK, backing="FlatVer1"), replace(DISK, mode="append")])
def test_a_flat_disk_is_accepted(disk: Disk) -> None:
    check(disk, "web01")


@pytest.mark.parametrize(
    ("disk", "reason"),
    [
        (replace(DISK, has_parent=True), "already had a snapshot"),
        (replace(DISK, backing="SparseVer2"), "SparseVer2, not a flat file"),
        (replace(DISK, backing="SeSparse"), "SeSparse, not a flat file"),
        (replace(DISK, backing="RawDiskMappingVer1"), "RawDiskMappingVer1, not a flat file"),
        (replace(DISK, mode="independent_persistent"), "snapshots leave it out"),
        (replace(DISK, mode="independent_nonpersistent"), "snapshots leave it out"),
        (replace(DISK, path="[ds] vm/disk.iso"), "no VMDK on a datastore"),
        (replace(DISK, datastore=""), "no VMDK on a datastore"),
        (replace(DISK, path=""), "no VMDK on a datastore"),
    ],
)
def test_another_disk_is_refused_with_the_reason(disk: Disk, reason: str) -> None:
    with pytest.raises(PreconditionError) as caught:
        check(disk, "web01")
    assert reason in caught.value.why
    assert "Hard disk 1 of web01" in caught.value.what
    assert caught.value.exit_code == 4


def test_the_address_of_a_plain_disk() -> None:
    assert flat_url(VCENTER, "DC0", DISK) == (
        "https://vc.example:8989/folder/web01/web01-flat.vmdk?dcPath=DC0&dsName=LocalDS_0"
    )


@pytest.mark.parametrize("name", ["a b", "a%20b", "50%&x=1", "q?a#b", "größe", "a+b", "[x]", "x'y\"z"])
def test_any_name_survives_the_address(name: str) -> None:
    disk = replace(DISK, path=f"[{name.strip('[]')}] {name}/{name}.vmdk", datastore=name)
    parts = urlsplit(flat_url(VCENTER, f"Folder/{name}", disk))
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "vc.example:8989", "")
    assert unquote(parts.path) == f"/folder/{name}/{name}-flat.vmdk"
    assert parse_qs(parts.query, strict_parsing=True) == {"dcPath": [f"Folder/{name}"], "dsName": [name]}
    assert parts.path.isascii()


def test_only_the_last_ending_is_replaced() -> None:
    disk = replace(DISK, path="[ds] old.vmdk/web.vmdk.vmdk")
    assert urlsplit(flat_url(VCENTER, "DC0", disk)).path == "/folder/old.vmdk/web.vmdk-flat.vmdk"
