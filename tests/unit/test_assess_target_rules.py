"""Rules about the target that the CloudStack double cannot be brought to trigger."""

from __future__ import annotations

from typing import Any

import pytest

from migratekit_core.services.assessment.assessment import assess
from migratekit_core.services.assessment.site import Site
from migratekit_core.services.assessment.target import Target, Wanted
from tests.unit.inventory import GIB, machine

WANTED = Wanted("z", "s", "d", "t", "oma")


def hits(firmware: str, **facts: Any) -> set[str]:
    vm = machine(firmware=firmware)
    site = Site((vm,), (vm,), target=Target(wanted=WANTED, **facts))
    return {found.rule for found in assess(site).findings if found.rule.startswith("MK-TGT")}


@pytest.mark.parametrize(
    ("firmware", "hosts", "found"),
    [
        ("efi", ({"name": "kvm1", "ueficapability": False}, {"name": "kvm2"}), {"MK-TGT-009"}),
        ("efi", ({"name": "kvm1", "ueficapability": True}, {"name": "kvm2"}), set()),
        ("bios", ({"name": "kvm2"},), set()),
    ],
)
def test_uefi_machines_need_a_host_for_them(firmware: str, hosts: Any, found: set[str]) -> None:
    assert hits(firmware, hosts=hosts) == found


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"zones": ({"id": "1", "name": "z", "allocationstate": "Disabled"},)}, {"MK-TGT-001"}),
        ({"zones": ({"id": "1", "name": "z"}, {"id": "2", "name": "z"})}, {"MK-TGT-001"}),
        ({"templates": ({"id": "1", "name": "t", "isready": False, "status": "50% Downloaded"},)}, {"MK-TGT-004"}),
        ({"machines": ({"id": "1", "name": "oma", "state": "Stopped"},)}, {"MK-TGT-006"}),
        (
            {
                "machines": ({"id": "1", "name": "oma", "state": "Running", "hypervisor": "KVM"},),
                "templates": ({"id": "1", "name": "t", "isready": True, "hypervisor": "VMware"},),
            },
            {"MK-TGT-004"},
        ),
        ({"capabilities": {"allowuserexpungerecovervm": False}, "apis": frozenset()}, {"MK-TGT-013"}),
        ({"data_disks": 64, "zones": ({"id": "1", "name": "z"},)}, set()),
    ],
)
def test_what_is_there_but_of_no_use(facts: Any, found: set[str]) -> None:
    assert hits("bios", **facts) == found


POOL = {"name": "p1", "state": "Up", "disksizetotal": 100 * GIB, "disksizeused": 90 * GIB, "disksizeallocated": 0}
OFFERING = {"name": "d", "iscustomized": True}


@pytest.mark.parametrize(
    ("pool", "offering", "found"),
    [
        ({}, {}, set()),
        ({"disksizeused": 98 * GIB}, {}, {"MK-TGT-008"}),
        ({"disksizeused": 95 * GIB}, {}, {"MK-TGT-011"}),
        # What is promised counts, not only what is written.
        ({"disksizeallocated": 95 * GIB}, {}, {"MK-TGT-008"}),
        ({"disksizeallocated": 95 * GIB, "overprovisionfactor": "2.0"}, {}, set()),
        # Pools that the volumes cannot go to.
        ({"state": "Maintenance"}, {}, {"MK-TGT-008"}),
        ({"tags": "slow"}, {"tags": "fast"}, {"MK-TGT-008"}),
        ({"tags": "fast,raid10"}, {"tags": "fast"}, set()),
        ({"tags": "fast"}, {}, set()),
    ],
)
def test_room_is_where_the_disk_offering_may_go(pool: Any, offering: Any, found: set[str]) -> None:
    assert hits("bios", storage_pools=({**POOL, **pool},), disk_offerings=({**OFFERING, **offering},)) == found
