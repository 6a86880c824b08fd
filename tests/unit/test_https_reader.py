"""Where the datastore browser has a disk's file."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from migratekit_core.adapters.readers.https import flat_url
from migratekit_core.adapters.vsphere.inventory import Disk
from migratekit_core.config.schema import VCenter
from migratekit_core.config.secret import SecretSource

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
