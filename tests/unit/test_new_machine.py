"""What the new machine will be: its cards and addresses, its controllers, and how long the cut-over would take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from migratekit_core.adapters.cloudstack.compute import NicSpec, VmSpec
from migratekit_core.config.schema import Failover, Networks
from migratekit_core.services.failover.machine import Cards, Ground, cards, devices, expects_conversion, suited
from migratekit_core.services.networks.model import Entry, join
from tests.lab.cloudstack.catalogue import NETWORKS, stable_id
from tests.unit.inventory import disk, machine, nic

PROD, TEST = stable_id("network", "guest-prod"), stable_id("network", "migration-test")
DMZ, L2 = stable_id("network", "guest-dmz"), stable_id("network", "legacy-l2")
MAC = "00:50:56:00:00:01"


def place(
    *nics: Any, test: bool = False, machines: Any = (), entries: Any = (), networks: Any = None, **settings: Any
) -> Cards:
    config = networks or {
        "map": {"VM Network": "guest-prod", "LAN 2": "guest-dmz", "flat": "legacy-l2"},
        "test": "migration-test",
    }
    table = Networks.model_validate(config)
    ground = Ground(join(table.map, entries), NETWORKS, machines)
    return cards(machine(nics=nics), ground, table, Failover.model_validate(settings), test=test)


def other(ip: str = "", mac: str = "") -> dict[str, Any]:
    return {"name": "other01", "nic": [{"networkid": PROD, "ipaddress": ip, "macaddress": mac}]}


def test_mac_and_address_are_kept_where_the_network_has_them() -> None:
    found = place(nic(), nic(2, network="LAN 2", ip_addresses=("10.50.0.9",)))
    assert found.nics == (
        NicSpec(PROD, mac=MAC, ip="10.1.1.21"),
        NicSpec(DMZ, mac="00:50:56:00:00:02", ip="10.50.0.9"),
    )
    assert (found.problems, found.notes) == ((), ())
    assert dict(found.mappings) == {"VM Network": "guest-prod", "LAN 2": "guest-dmz"}


@pytest.mark.parametrize(
    ("changes", "machines", "said"),
    [
        ({"ip_addresses": ("192.168.0.5",)}, [], "192.168.0.5 is not in 10.1.1.0/24 of guest-prod"),
        ({"ip_addresses": ("10.1.1.1",)}, [], "10.1.1.1 is the address of the gateway"),
        ({"ip_addresses": ("10.1.1.255",)}, [], "is not an address of one machine"),
        ({}, [other(ip="10.1.1.21")], "10.1.1.21 is the address of other01"),
        ({"network": "flat"}, [], "gives no addresses (L2)"),
        ({"ip_addresses": ()}, [], "VMware Tools tell no IPv4 address"),
        ({"ip_addresses": ("fe80::1", "2001:db8::9")}, [], "VMware Tools tell no IPv4 address"),
    ],
)
def test_an_address_that_cannot_be_kept_is_dropped_with_a_note_or_refused(
    changes: dict[str, Any], machines: list[Any], said: str
) -> None:
    found = place(nic(**changes), machines=machines)
    assert found.nics[0].ip is None
    assert found.problems == ()
    assert said in found.notes[0]
    assert said in place(nic(**changes), machines=machines, keep_ip="require").problems[0]
    assert place(nic(**changes), machines=machines, keep_ip="never").notes == ()


def test_of_several_addresses_the_first_that_fits_is_kept() -> None:
    found = place(nic(ip_addresses=("172.16.0.9", "10.1.1.30", "fe80::1")))
    assert found.nics[0].ip == "10.1.1.30"
    assert "also has 172.16.0.9" in found.notes[0]


def test_a_mac_address_that_is_taken_is_refused_unless_it_need_not_be_kept() -> None:
    taken = [other(mac=MAC.upper())]
    assert f"MAC address {MAC} of Network adapter 1 is that of other01" in place(nic(), machines=taken).problems[0]
    found = place(nic(), machines=taken, keep_mac=False)
    assert (found.nics[0].mac, found.problems) == (None, ())
    assert "gets a new MAC address" in found.notes[0]


def test_every_problem_of_the_mapping_is_named() -> None:
    found = place(
        nic(network="nowhere"),
        nic(2, network="", unresolved="the portgroup is gone"),
        nic(3, network="VM Network"),
        nic(4, network="VM Network"),
        nic(5, network="typo"),
        entries=[Entry("typo", "guest-pord")],
    )
    assert found.problems == (
        "network 'nowhere' of Network adapter 1 is not mapped",
        "Network adapter 2 has no network: the portgroup is gone",
        "Network adapter 3 and Network adapter 4 both go to guest-prod, "
        "and CloudStack gives a machine one card in each",
        "CloudStack has no network 'guest-pord' (for typo)",
    )
    assert "no network card" in place().problems[0]


def test_a_card_is_left_out_only_where_somebody_said_so() -> None:
    left = {"map": {"VM Network": "guest-prod", "backup": False}}
    found = place(nic(), nic(2, network="backup"), networks=left)
    assert [each.network_id for each in found.nics] == [PROD]
    assert "Network adapter 2 is left out (backup goes nowhere)" in found.notes
    assert "all of its cards are left out" in place(nic(network="backup"), networks=left).problems[0]


def test_a_disconnected_card_is_told() -> None:
    found = place(nic(connected=False, start_connected=False))
    assert any("is disconnected now" in note for note in found.notes)


def test_a_rehearsal_has_one_card_without_addresses_in_each_isolated_network() -> None:
    found = place(nic(network="nowhere"), nic(2, network="LAN 2"), test=True)
    assert found.nics == (NicSpec(TEST),)
    assert "Network adapter 2 is left out: Network adapter 1 is in migration-test already" in found.notes[0]
    apart = {"test": "migration-test", "test_map": {"LAN 2": "guest-dmz"}}
    assert place(nic(), nic(2, network="LAN 2"), test=True, networks=apart).nics == (NicSpec(TEST), NicSpec(DMZ))
    assert "networks.test" in place(nic(), test=True, networks={"map": {}}).problems[0]


def test_the_more_exact_entry_wins_and_the_configuration_over_what_is_stored() -> None:
    vm = machine(nics=(nic(network_path="/DC0/network/left/VM Network", network_record="old name"),))
    (card,) = vm.nics
    stored = [
        Entry("VM Network", "stored-name", origin="file"),
        Entry("/DC0/network/left/VM Network", "stored-path", origin="file"),
        Entry("old name", "stored-record", origin="file"),
    ]
    own = Entry("Network adapter 1", "stored-card", vm.path, "file")

    def target(config: dict[str, Any], *entries: Entry) -> str | None:
        found = join(config, entries).of(vm, card)
        return found.target if found else None

    assert target({"VM Network": "config-name"}, *stored, own) == "stored-card"
    assert target({"VM Network": "config-name"}, *stored) == "stored-path"
    assert target({"VM Network": "config-name"}, stored[0]) == "config-name"
    assert target({}, stored[0], stored[2]) == "stored-name"
    assert target({}, stored[2]) == "stored-record"
    assert target({}, replace(own, machine="another")) is None
    overridden = join({"VM Network": "config-name"}, stored).overridden()
    assert [entry.target for entry in overridden] == ["stored-name"]


@pytest.mark.parametrize(
    ("changes", "converted", "details"),
    [
        ({}, False, {"rootDiskController": "virtio", "nicAdapter": "virtio"}),
        (
            {"guest_id": "windows2019srv_64Guest", "guest_family": "windowsGuest", "guest_reported_id": ""},
            False,
            {"rootDiskController": "ide", "nicAdapter": "e1000", "dataDiskController": "ide"},
        ),
        (
            {"guest_id": "windows2019srv_64Guest", "guest_reported_id": "", "firmware": "efi"},
            False,
            {"rootDiskController": "sata", "nicAdapter": "e1000", "dataDiskController": "sata"},
        ),
        (
            {"guest_id": "windows2019srv_64Guest", "guest_reported_id": ""},
            True,
            {"rootDiskController": "virtio", "nicAdapter": "virtio"},
        ),
        (
            {"guest_id": "rhel4_64Guest", "guest_reported_id": "", "cpus": 4, "cores_per_socket": 2},
            False,
            {
                "rootDiskController": "ide",
                "nicAdapter": "e1000",
                "dataDiskController": "ide",
                "cpu.corespersocket": "2",
            },
        ),
    ],
)
def test_controllers_and_cards_suit_the_guest(
    changes: dict[str, Any], converted: bool, details: dict[str, str]
) -> None:
    found = devices(machine(**changes), Failover(), converted)
    assert found.details == details
    assert bool(found.notes) == (details["nicAdapter"] == "e1000")


def test_a_chosen_controller_is_taken_and_too_many_ide_disks_are_told() -> None:
    chosen = Failover(disk_controller="scsi", nic_model="rtl8139")
    found = devices(machine(), chosen, converted=False)
    assert found.details == {"rootDiskController": "scsi", "nicAdapter": "rtl8139", "dataDiskController": "scsi"}
    many = machine(disks=tuple(disk(number) for number in range(1, 6)))
    assert "IDE has room for 3 disks" in devices(many, Failover(disk_controller="ide"), converted=False).notes[0]


def test_models_follow_what_was_decided_about_the_conversion() -> None:
    windows = machine(guest_id="windows2019srv_64Guest", guest_reported_id="", guest_family="windowsGuest")
    assert expects_conversion(windows, Failover())
    assert not expects_conversion(windows, Failover(convert="never"))
    assert not expects_conversion(machine(), Failover())
    spec = VmSpec("vm", "vm", "zone", "offering", (), {"cpuNumber": "2", "rootDiskController": "virtio"}, "bios")
    assert suited(spec, windows, Failover(), converted=False).details == {
        "cpuNumber": "2",
        "rootDiskController": "ide",
        "dataDiskController": "ide",
        "nicAdapter": "e1000",
    }
    back = suited(suited(spec, windows, Failover(), converted=False), windows, Failover(), converted=True)
    assert back.details == {"cpuNumber": "2", "rootDiskController": "virtio", "nicAdapter": "virtio"}
