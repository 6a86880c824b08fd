"""What counts as drift, and what of it may be repaired: every kind, from four sides that disagree."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from migratekit_core.db.models.volumes import DeviceMapping, NbdExport
from migratekit_core.volumed.daemon.reconcile import compare
from migratekit_core.volumed.daemon.reconcile.look import Seen
from migratekit_core.volumed.daemon.storage import Volume
from migratekit_core.volumed.devices import Device

API = Path(__file__).parents[2] / "docs" / "api.md"
ID, OMA, OTHER, GIB = "11111111-2222", "oma", "other", 1 << 30
NAME = "migration-a-1-0123abcd"
LINK, DISK = Path("/dev/disk/by-id/virtio-111111112222"), Path("/dev/vdb")
DEVICE = Device(LINK, DISK, GIB)


def volume(vm_id: str | None = OMA) -> Volume:
    return Volume(ID, "mk-disk", "Ready", "DATADISK", GIB, vm_id, 1, None, {})


def row(
    vm_id: str = OMA, cloudstack: str = "attached", linux: str = "attached", path: str | None = str(DISK)
) -> DeviceMapping:
    return DeviceMapping(
        volume_id=ID, vm_id=vm_id, device_path=path, cloudstack_state=cloudstack, linux_state=linux, size=GIB
    )


def export(path: str = str(DISK), status: str = "active", name: str = NAME) -> NbdExport:
    return NbdExport(volume_id=ID, export_name=name, device_path=path, port=10809, status=status)


WELL = Seen(ID, OMA, 10809, volume(), DEVICE, row(), export(), LINK, lambda: 1)
NOWHERE = replace(WELL, volume=volume(None), device=None, mapping=None, export=None, target=None)
ELSEWHERE = replace(NOWHERE, volume=volume(OTHER), mapping=row(OTHER, "attached", "elsewhere", None))
GONE = replace(NOWHERE, volume=None)
IDLE = {"clients": lambda: 0}


@pytest.mark.parametrize("seen", [WELL, NOWHERE, ELSEWHERE, GONE, replace(WELL, export=None, target=None)])
def test_where_all_agree_there_is_none(seen: Seen) -> None:
    assert compare.drifts(seen) == []


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        # Rows that are wrong about what CloudStack and Linux agree on.
        (replace(WELL, mapping=row(path="/dev/vdz")), {"row": True}),
        (replace(WELL, mapping=row(cloudstack="attaching", linux="absent", path=None)), {"row": True}),
        (replace(WELL, mapping=None, export=None, target=None), {"row": True}),
        (replace(NOWHERE, mapping=row()), {"row": True}),
        (replace(GONE, mapping=row()), {"row": True}),
        (replace(ELSEWHERE, mapping=None), {"row": True}),
        (replace(ELSEWHERE, mapping=row()), {"row": True}),
        # CloudStack and Linux that disagree: an operator's, whatever the row says.
        (replace(WELL, device=None, mapping=row(linux="absent", path=None), export=None), {"no-device": False}),
        (replace(WELL, device=None, export=None), {"no-device": False, "row": True}),
        (replace(NOWHERE, device=DEVICE, mapping=row(cloudstack="detached")), {"held": False}),
        (replace(GONE, device=DEVICE), {"held": False, "row": True}),
        (replace(ELSEWHERE, device=DEVICE, mapping=row(OTHER)), {"elsewhere-and-here": False}),
        (replace(WELL, device=replace(DEVICE, size=2 * GIB), export=None), {"size": False, "row": True}),
        # Exports: nothing is taken from whoever is connected, and nothing while Linux has the device.
        (replace(WELL, target=None), {"export-lost": True}),
        (replace(WELL, target=Path("/dev/disk/by-id/virtio-9")), {"export-astray": False}),
        (replace(WELL, target=Path("/dev/disk/by-id/virtio-9"), **IDLE), {"export-astray": True}),
        (replace(WELL, export=export(path="/dev/vdz")), {"export-row": True}),
        (replace(WELL, export=export(status="creating"), **IDLE), {"export-stale": True}),
        (replace(WELL, export=export(status="creating")), {"export-stale": False}),
        (replace(WELL, volume=volume(None), device=None), {"export-stale": False, "row": False}),
        (replace(WELL, volume=volume(None), device=None, **IDLE), {"export-stale": True, "row": True}),
        (replace(WELL, volume=volume(None), **IDLE), {"held": False, "export-stale": False, "row": True}),
        # Several devices have its serial: which is the volume's is an operator's to find out, and nothing is repaired.
        (replace(WELL, device=None, rivals=(DISK, Path("/dev/vdc"))), {"same-serial": False}),
        (replace(WELL, device=None, rivals=(DISK, Path("/dev/vdc")), mapping=None, **IDLE), {"same-serial": False}),
        # Served under another name of the same device: the kernel's was there before udev's.
        (replace(WELL, target=DISK, device=replace(DEVICE, names=frozenset({LINK, DISK}))), {}),
        # What only a row says: nobody gave that name to that volume, or the guard lets nobody serve it.
        (replace(WELL, given=False, target=None, **IDLE), {"export-stale": True}),
        (replace(WELL, given=False, target=Path("/dev/disk/by-id/virtio-9")), {"export-stale": False}),
        (replace(WELL, given=False), {}),
        (replace(WELL, refused="it is not ours", **IDLE), {"export-stale": True}),
        (replace(WELL, export=export(name="../token"), target=None, **IDLE), {"export-stale": True}),
        # Attached by CloudStack, gone in Linux: it may come back, and the copy with it.
        (replace(WELL, device=None, **IDLE), {"no-device": False, "row": True}),
    ],
)
def test_every_disagreement_has_its_kind_and_only_what_loses_nothing_is_safe(
    seen: Seen, wanted: dict[str, bool]
) -> None:
    found = compare.drifts(seen)
    assert {one.kind: one.safe for one in found} == wanted
    assert all(one.what and one.why and one.todo and one.volume_id == ID for one in found)


def test_an_export_that_no_row_knows_is_taken_from_nobody() -> None:
    assert compare.stray("migration-x", 0).safe
    assert not compare.stray("migration-x", 1).safe


def test_every_kind_is_documented() -> None:
    table = API.read_text().partition("## Drift")[2].partition("## Metrics")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == set(compare.KINDS)
