"""Every rule about a machine: spoiled in one way it is hit, and the machine that nothing ails is not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.adapters.vsphere.inventory import (
    Controller,
    Device,
    GuestAddress,
    GuestVolume,
    Snapshot,
    VirtualMachine,
)
from migratekit_core.services.assessment.assessment import all_rules, assess
from migratekit_core.services.assessment.collect import read_inventory
from migratekit_core.services.assessment.rule import Severity
from migratekit_core.services.assessment.site import Site
from tests.unit.inventory import GIB, STORE, disk, machine, nic, write

CONTROLLER = "VirtualNVMEController"


def snapshot(name: str) -> Snapshot:
    return Snapshot("snapshot-1", name, "", "2026-11-01T00:00:00", None, current=True)


def device(kind: str, **more: Any) -> dict[str, Any]:
    return {"devices": (Device(9000, kind, "the device", **more),)}


def delta(**more: Any) -> dict[str, Any]:
    return {"disks": (disk(has_parent=True, path="[ds1] good01/disk1-000001.vmdk", **more),)}


def store(**changes: Any) -> dict[str, Any]:
    return {"datastores": (replace(STORE, **changes),)}


def addressed(*addresses: str) -> dict[str, Any]:
    found = tuple(GuestAddress(address, 24, "manual") for address in addresses)
    return {"nics": (nic(ip_addresses=addresses, addresses=found),)}


SPOILED: dict[str, dict[str, Any]] = {
    "MK-DISK-001": {"disks": ()},
    "MK-DISK-002": {"disks": (disk(mode="independent_persistent"),)},
    "MK-DISK-003": {"disks": (disk(backing="RawDiskMappingVer1", rdm_mode="physicalMode"),)},
    "MK-DISK-004": {"disks": (disk(backing="RawDiskMappingVer1", rdm_mode="virtualMode"),)},
    "MK-DISK-005": {"disks": (disk(sharing="sharingMultiWriter"),)},
    "MK-DISK-007": {"controllers": (Controller(1000, "VirtualLsiLogicSASController", "SCSI 0", 0, "physicalSharing"),)},
    "MK-DISK-008": {"disks": (disk(encrypted=True),)},
    "MK-DISK-009": {"disks": (disk(backing="SparseVer2"),)},
    "MK-DISK-010": delta(base_path="[ds1] gold/disk1.vmdk"),
    "MK-DISK-011": {"disks": (disk(capacity_bytes=10 * GIB + 512),)},
    "MK-DISK-012": {"disks": (disk(provisioning="eager"),)},
    "MK-DISK-013": {},
    "MK-DISK-014": {"disks": (disk(controller=CONTROLLER),)},
    "MK-STORE-001": store(type="vsan"),
    "MK-STORE-002": store(type="VVOL"),
    "MK-STORE-003": store(type="NFS41"),
    "MK-STORE-004": store(free_bytes=GIB // 2),
    "MK-STORE-005": store(accessible=False),
    "MK-CBT-001": {"hardware_version": "vmx-04"},
    "MK-CBT-002": {"cbt_enabled": False, "disks": (disk(change_id=None),)},
    "MK-CBT-003": {"extra_config": {"SCSI0:0.ctkEnabled": "FALSE"}},
    "MK-CBT-004": {"cbt_enabled": False, "has_snapshots": True, "snapshots": (snapshot("backup"),), **delta()},
    "MK-SNAP-001": {"has_snapshots": True, "snapshots": (snapshot("backup"),), **delta()},
    "MK-SNAP-002": {"consolidation_needed": True},
    "MK-SNAP-003": {"has_snapshots": True, "snapshots": (snapshot("migratekit-4711"),), **delta()},
    "MK-DEV-001": device("VirtualPCIPassthrough", backing="VirtualPCIPassthroughDevice"),
    "MK-DEV-002": {"nics": (nic(type="sriovethernetcard"),)},
    "MK-DEV-003": device("VirtualPCIPassthrough", backing="VirtualPCIPassthroughVmiop", backing_name="grid_p40-1q"),
    "MK-DEV-004": device("VirtualUSB"),
    "MK-DEV-005": device("VirtualSerialPort", backing="VirtualSerialPortURI"),
    "MK-DEV-006": device("VirtualParallelPort", backing="VirtualParallelPortFile"),
    "MK-DEV-007": device("VirtualFloppy"),
    "MK-DEV-008": device("VirtualCdrom", backing="VirtualCdromIso", backing_name="[ds1] a.iso", connected=True),
    "MK-DEV-009": {"vtpm": True},
    "MK-DEV-010": {"encrypted": True},
    "MK-DEV-011": {"secure_boot": True},
    "MK-DEV-012": {"firmware": "efi"},
    "MK-DEV-013": device("VirtualNVDIMM"),
    "MK-CPU-001": {"cpu_hot_add": True},
    "MK-CPU-002": {"cpu_affinity": (2, 3)},
    "MK-CPU-003": {"memory_affinity": (1,)},
    "MK-CPU-004": {"cpu_reservation_mhz": 1000},
    "MK-CPU-005": {"latency_sensitivity": "high"},
    "MK-MEM-001": {"memory_hot_add": True},
    "MK-MEM-002": {"memory_reservation_locked": True},
    "MK-MEM-003": {"memory_mib": 16},
    "MK-STATE-001": {"power": "poweredOff"},
    "MK-STATE-002": {"power": "suspended"},
    "MK-STATE-003": {"connection": "orphaned"},
    "MK-STATE-004": {"template": True, "power": "poweredOff"},
    "MK-STATE-005": {"tools": "guestToolsNotRunning"},
    "MK-STATE-006": {"tools_status": "guestToolsNeedUpgrade"},
    "MK-STATE-007": {"managed_by": "com.vmware.vim.eam"},
    "MK-STATE-008": {"managed_by": "org.openstack.compute"},
    "MK-PLACE-001": {"fault_tolerance": "running"},
    "MK-PLACE-002": {"drs_override": "manual"},
    "MK-PLACE-003": {"ha_override": "high"},
    "MK-PLACE-004": {"drs_rules": ("keep apart",)},
    "MK-PLACE-005": {"vapp": "shop"},
    "MK-GUEST-001": {"guest_id": "darwin22_64Guest", "guest_reported_id": ""},
    "MK-GUEST-002": {"guest_id": "kolibri_64Guest"},
    "MK-GUEST-003": {"guest_id": "windows2019srv_64Guest", "guest_family": "windowsGuest"},
    "MK-GUEST-004": {"guest_id": "rhel4_64Guest", "guest_reported_id": ""},
    "MK-GUEST-005": {"guest_volumes": (GuestVolume("/data", GIB, 0, "xfs", (2000, 2001)),)},
    "MK-GUEST-006": {"guest_family": "windowsGuest", "guest_volumes": (GuestVolume("D:\\", 0, 0),)},
    "MK-GUEST-007": {"guest_reported_id": "rhel9_64Guest"},
    "MK-GUEST-008": {"extra_config": {"guestinfo.userdata": "", "guestinfo.userdata.encoding": ""}},
    "MK-NAME-002": {"name": "good_01"},
    "MK-NAME-004": {"guest_hostname": "localhost.localdomain"},
    "MK-NAME-005": {"guest_hostname": "a" * 64},
    "MK-NET-001": {"nics": ()},
    "MK-NET-002": {"nics": (nic(network="", unresolved="the portgroup is gone"),)},
    "MK-NET-003": {"nics": (nic(network="elsewhere"),)},
    "MK-NET-004": {"gateways": ("10.1.1.1", "10.2.2.1")},
    "MK-NET-006": {"nics": (nic(type="e1000"),)},
    "MK-NET-007": addressed("2001:db8::1", "fe80::1"),
    "MK-NET-008": {"nics": (nic(connected=False),)},
    "MK-NET-009": {"nics": (nic(), nic(2))},
    "MK-TGT-101": {"disks": tuple(disk(number) for number in range(1, 34))},
}
"""What spoils a machine so that the rule is hit."""

BY_COMPARING: dict[str, tuple[VirtualMachine, ...]] = {
    "MK-DISK-006": (machine("other", disks=(disk(),), nics=()),),
    "MK-NAME-001": (machine("good01", moref="vm-2", path="/DC0/vm/lab/good01", disks=(), nics=(), guest_hostname=""),),
    "MK-NAME-003": (machine("good01_", disks=(), nics=()),),
    "MK-NAME-006": (machine("other", disks=(), nics=(), guest_hostname="good01"),),
    "MK-NET-005": (machine("other", disks=(), nics=(nic(),)),),
}
"""Other machines that a machine collides with."""

HARMLESS: dict[str, dict[str, Any]] = {
    "MK-DEV-008": device("VirtualCdrom", backing="VirtualCdromRemotePassthrough"),
    "MK-NET-004": {"gateways": ("10.1.1.1", "2001:db8::1", "fe80::1")},
    "MK-NET-007": addressed("10.1.1.21", "2001:db8::1"),
    "MK-CBT-003": {"disks": (disk(change_id=None),), "extra_config": {"scsi0:7.ctkEnabled": "FALSE"}},
    "MK-DISK-010": {"has_snapshots": True, "snapshots": (snapshot("backup"),), **delta()},
    "MK-SNAP-001": {"has_snapshots": True, "snapshots": (snapshot("migratekit-1"),), **delta()},
    "MK-MEM-003": {"memory_mib": 32},
    "MK-TGT-101": {"disks": tuple(disk(number) for number in range(1, 33))},
    "MK-NET-008": {"power": "poweredOff", "nics": (nic(connected=False, start_connected=True),)},
    "MK-CBT-001": {"hardware_version": "vmx-07"},
    "MK-GUEST-006": {"guest_volumes": (GuestVolume("/proc", 0, 0),)},
    "MK-GUEST-008": {"extra_config": {"guestinfo.vmtools.versionNumber": "12352"}},
}
"""What looks like it, and is not."""

NEEDS_TARGET_OR_SITE = {
    rule.id
    for rule in all_rules()
    if rule.site_check is not None or any(need.startswith("target") for need in rule.needs)
}


def hits(folder: Path, vm: VirtualMachine, *others: VirtualMachine, reader: str = "https") -> set[str]:
    """Return the rules that are hit on `vm`, read from a file as --offline does."""
    machines = read_inventory(write(folder / "inventory.json", vm, *others))
    site = Site(machines, machines[:1], readers=(reader,), network_map={"VM Network": "guest-prod"})
    return {found.rule for found in assess(site).findings if found.vm}


@pytest.mark.parametrize("rule", SPOILED)
def test_a_spoiled_machine_is_found(tmp_path: Path, rule: str) -> None:
    assert rule in hits(tmp_path, machine(**SPOILED[rule]))


@pytest.mark.parametrize("rule", BY_COMPARING)
def test_machines_that_collide_are_found(tmp_path: Path, rule: str) -> None:
    assert rule in hits(tmp_path, machine(), *BY_COMPARING[rule])


@pytest.mark.parametrize("rule", HARMLESS)
def test_what_only_looks_like_it_is_not_found(tmp_path: Path, rule: str) -> None:
    assert rule not in hits(tmp_path, machine(**HARMLESS[rule]))


def test_nothing_is_said_about_a_plain_machine(tmp_path: Path) -> None:
    alone = machine("other", path="/DC0/vm/lab/other", disks=(disk(path="[ds1] other/a.vmdk"),), nics=(nic(2),))
    assert hits(tmp_path, machine(), alone) == {"MK-DISK-013"}


def test_of_a_machine_that_vsphere_cannot_read_only_that_is_said(tmp_path: Path) -> None:
    unread = {"hardware_version": "", "uuid": "", "guest_id": "", "cpus": 0, "memory_mib": 0, "disks": (), "nics": ()}
    lost = machine(connection="inaccessible", power="poweredOff", tools="guestToolsNotRunning", **unread)
    assert hits(tmp_path, lost) == {"MK-STATE-003"}


def test_datastores_of_two_datacenters_may_have_one_name(tmp_path: Path) -> None:
    elsewhere = machine(
        "other", path="/DC1/vm/other", datacenter="DC1", disks=(disk(datastore_moref="datastore-2"),), nics=()
    )
    assert "MK-DISK-006" not in hits(tmp_path, machine(), elsewhere)


def test_every_rule_about_machines_has_its_case() -> None:
    machine_rules = {rule.id for rule in all_rules()} - NEEDS_TARGET_OR_SITE
    assert machine_rules == SPOILED.keys() | BY_COMPARING.keys()


READ_BY_VDDK = {
    "MK-DISK-004",
    "MK-DISK-008",
    "MK-DISK-009",
    "MK-DISK-010",
    "MK-SNAP-001",
    "MK-STORE-001",
    "MK-STORE-002",
}


@pytest.mark.parametrize("rule", sorted(READ_BY_VDDK))
def test_what_vddk_reads_is_no_blocker_for_it(tmp_path: Path, rule: str) -> None:
    assert rule not in hits(tmp_path, machine(**SPOILED[rule]), reader="vddk")


def texts() -> Iterable[Any]:
    return (pytest.param(rule, id=rule.id) for rule in all_rules())


@pytest.mark.parametrize("rule", texts())
def test_a_rule_says_what_why_and_what_to_do(rule: Any) -> None:
    assert rule.what
    assert rule.why.endswith(".")
    assert str(rule.remedy).endswith(".")
    assert rule.severity in Severity
