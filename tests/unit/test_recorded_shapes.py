"""What recordings of real vCenters showed, in the shapes in which they had it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from pyVmomi import SoapAdapter, vim

from migratekit_core.adapters.vsphere.inventory import Filter, GuestAddress, Nic, VirtualMachine, choose, forms
from migratekit_core.adapters.vsphere.inventory.collector import read_answer
from migratekit_core.adapters.vsphere.inventory.machine import DEVICES, read_machine
from migratekit_core.adapters.vsphere.inventory.networks import card_network
from migratekit_core.adapters.vsphere.inventory.places import Places
from migratekit_core.common.errors import PreconditionError
from migratekit_core.services.networks.model import Entry, NetworkMap, join
from tests.unit.inventory import STORE, disk, machine, nic
from tests.unit.test_inventory_wire import Nowhere, array, device, on_the_wire

address = vim.net.IpConfigInfo.IpAddress


def read(*cards: Any, **properties: Any) -> VirtualMachine:
    devices = array("vim.vm.device.VirtualDevice", [device.VirtualVmxnet3(key=4000), *cards])
    named = {name.replace("__", "."): value for name, value in properties.items()}
    return read_machine(on_the_wire({"name": "web01", DEVICES: devices, **named}), Nowhere())


def told(*nets: Any) -> Nic:
    """The card that VMware Tools say these interfaces are on."""
    return read(guest__net=array("vim.vm.GuestInfo.NicInfo", nets)).nics[0]


def interface(*addresses: Any, **more: Any) -> Any:
    ips = [address(ipAddress=ip, prefixLength=24, **({"origin": origin} if origin else {})) for ip, origin in addresses]
    return vim.vm.GuestInfo.NicInfo(
        deviceConfigId=4000, connected=True, ipAddress=[ip for ip, _ in addresses],
        ipConfig=vim.net.IpConfigInfo(ipAddress=ips, **more.pop("config", {})), **more,
    )  # fmt: skip


def test_vlan_interfaces_of_a_router_are_all_told() -> None:
    found = told(*(interface((f"10.{vlan}.0.1", "manual"), network=f"VLAN {vlan}") for vlan in range(7)))
    assert found.ip_addresses == tuple(f"10.{vlan}.0.1" for vlan in range(7))
    assert found.addresses == tuple(GuestAddress(f"10.{vlan}.0.1", 24, "manual") for vlan in range(7))
    assert found.dhcp is False


DNS = {"dnsConfig": vim.net.DnsConfigInfo(dhcp=False, hostName="w", domainName="")}
IPV4_BY_DHCP = {"dhcp": vim.net.DhcpConfigInfo(ipv4=vim.net.DhcpConfigInfo.DhcpOptions(enable=True))}


@pytest.mark.parametrize(
    ("nets", "dhcp"),
    [
        # Windows: no word of DHCP but the name servers'.
        ([interface(("10.0.0.5", "dhcp"), **DNS)], True),
        ([interface(("10.0.0.5", "manual"), **DNS)], False),
        ([interface(("10.0.0.5", ""), **DNS)], None),
        ([interface(**DNS)], None),
        # An IPv6 address that came by itself says nothing of IPv4.
        ([interface(("fe80::1", "linklayer"), **DNS)], None),
        ([interface(("10.0.0.5", ""), config=IPV4_BY_DHCP, **DNS)], True),
        ([interface(("10.0.0.5", "manual")), interface(("10.1.0.5", "dhcp"))], True),
    ],
)
def test_who_has_its_address_of_dhcp(nets: list[Any], dhcp: bool | None) -> None:
    assert told(*nets).dhcp is dhcp


# Names.


def places(*objects: tuple[str, str, dict[str, Any]]) -> Places:
    """What is around the machines: type, id and properties of each object."""
    found = Nowhere()
    for kind, moref, properties in objects:
        answer = on_the_wire(properties)
        from dataclasses import replace

        each = replace(answer, type=kind, moref=moref)
        found._found[moref] = each
        if "etwork" in kind or kind == "DistributedVirtualPortgroup":
            found._remember_network(each)
    return found


def test_networks_are_called_as_the_client_shows_them() -> None:
    group, folder = vim.dvs.DistributedVirtualPortgroup("dvportgroup-9"), vim.Folder("group-n1")
    around = places(
        ("Folder", "group-r", {"name": "Datacenters"}),
        ("Folder", "group-n1", {"name": "50%25", "parent": vim.Folder("group-r")}),
        ("DistributedVirtualPortgroup", "dvportgroup-9", {
            "name": "VLAN 10%2f20 %5cold", "parent": folder, "key": group._moId,
        }),
        ("Network", "network-7", {"name": "dmz/outer", "parent": folder}),
    )  # fmt: skip
    ethernet = device.VirtualEthernetCard
    port = vim.dvs.PortConnection(switchUuid="50 01", portgroupKey="dvportgroup-9")

    def network_of(backing: Any) -> Any:
        (found,) = on_the_wire({"b": device.VirtualVmxnet3(key=4000, backing=backing)}).properties.values()
        return card_network(next(part for part in found if part.tag.endswith("backing")), "", around)

    distributed = network_of(ethernet.DistributedVirtualPortBackingInfo(port=port))
    assert (distributed.name, distributed.path) == ("VLAN 10/20 \\old", "/50%25/VLAN 10%2f20 %5cold")
    standard = network_of(ethernet.NetworkBackingInfo(deviceName="dmz/outer", network=vim.Network("network-7")))
    assert (standard.name, standard.state) == ("dmz/outer", "present")
    # A host's record of it may be escaped, or not: it is the same network.
    escaped = network_of(ethernet.NetworkBackingInfo(deviceName="dmz%2fouter", network=vim.Network("network-7")))
    assert (escaped.name, escaped.state) == ("dmz/outer", "present")
    gone = network_of(ethernet.NetworkBackingInfo(deviceName="old%2flan"))
    assert (gone.name, gone.state) == ("old/lan", "deleted")


@pytest.mark.parametrize(
    "source",
    ["VLAN 10/20", "VLAN 10%2f20", "VLAN 10%2F20", "/DC0/network/VLAN 10%2f20", "/DC0/network/VLAN 10/20", "was/so"],
)
def test_a_mapping_may_name_a_network_in_both_forms(source: str) -> None:
    card = nic(network="VLAN 10/20", network_path="/DC0/network/VLAN 10%2f20", network_record="was/so")
    entry = join({source: "guest-prod"}).of(machine(), card)
    assert entry is not None
    assert entry.target == "guest-prod"


def test_a_mapping_may_name_a_machine_in_both_forms() -> None:
    vm = machine("a/b", path="/DC0/vm/a%2fb")
    for named in ("a/b", "a%2fb", "/DC0/vm/a%2fb", "/DC0/vm/a/b", vm.uuid):
        assert NetworkMap((Entry(vm.nics[0].label, "t", named),)).of(vm, vm.nics[0]) is not None
    assert NetworkMap((Entry(vm.nics[0].label, "t", "b"),)).of(vm, vm.nics[0]) is None


def test_machines_snapshots_and_datastores_are_called_as_the_client_shows_them() -> None:
    tree = vim.vm.SnapshotTree(
        snapshot=vim.vm.Snapshot("s"), vm=vim.VirtualMachine("vm-1"), name="before 5%25 %2f x", description="", id=1,
        createTime=datetime(2026, 1, 2), state="poweredOn", quiesced=False, replaySupported=False,
    )  # fmt: skip
    vm = read_machine(
        on_the_wire({"name": "web%2f01", "snapshot": vim.vm.SnapshotInfo(rootSnapshotList=[tree])}), Nowhere()
    )
    assert (vm.name, vm.path) == ("web/01", "/web%2f01")
    assert [snapshot.name for snapshot in vm.snapshots] == ["before 5% / x"]
    from dataclasses import replace

    store = replace(STORE, name="gold/1")
    by_name = disk(path="[gold%2f1] w/w.vmdk", datastore="gold%2f1", datastore_moref="")
    assert machine(datastores=(store,)).datastore_of(by_name) is store


def test_machines_are_found_by_both_forms() -> None:
    vms = (machine("50% of a/b\\c", path="/DC0/vm/x%2fy/50%25 of a%2fb%5cc"), machine("other"))
    for name in ("50% of a/b\\c", "50%25 of a%2fb%5cc", vms[0].path, "/DC0/vm/x/y/50% of a/b\\c", vms[0].uuid):
        assert choose(vms, [name], everything=False) == (vms[0],)
    with pytest.raises(PreconditionError):
        choose(vms, ["b\\c"], everything=False)
    assert Filter(names=("*a/b*",)).fits(vms[0])
    assert Filter(names=("*a%2fb*",)).fits(vms[0])
    assert "100%2f" in forms("100%2f"), "a name may look like an escape"


@pytest.mark.parametrize("digits", ["", ".123", ".12345", ".123456", ".5", ".1234567"])
def test_times_have_any_number_of_digits(digits: str) -> None:
    """Of vSphere 4.1 to 8: 3, 5 or 6; they are read by us, and by pyVmomi where a snapshot is looked for."""
    written = f"2019-03-04T05:06:07{digits}Z"
    text = (
        '<returnval xmlns="urn:vim25" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><objects>'
        '<obj type="VirtualMachine">vm-1</obj><propSet><name>snapshot</name><val xsi:type="VirtualMachineSnapshotInfo">'
        '<rootSnapshotList><snapshot type="VirtualMachineSnapshot">snapshot-1</snapshot>'
        '<vm type="VirtualMachine">vm-1</vm><name>s</name><description></description><id>1</id>'
        f"<createTime>{written}</createTime><state>poweredOn</state><quiesced>false</quiesced>"
        "</rootSnapshotList></val></propSet></objects></returnval>"
    )
    envelope = f"<Envelope><Body><Response xmlns='urn:vim25'>{text}</Response></Body></Envelope>"
    (found,) = read_answer(envelope.encode())
    (snapshot,) = read_machine(found, Nowhere()).snapshots
    assert datetime.fromisoformat(snapshot.created).replace(tzinfo=None, microsecond=0) == datetime(2019, 3, 4, 5, 6, 7)
    theirs = SoapAdapter.Deserialize(text, resultType=vim.PropertyCollector.RetrieveResult)
    (tree,) = theirs.objects[0].propSet[0].val.rootSnapshotList
    assert tree.createTime.replace(tzinfo=None, microsecond=0) == datetime(2019, 3, 4, 5, 6, 7)


def test_a_capacity_may_be_told_in_kilobytes_only() -> None:
    thin = device.VirtualDisk.FlatVer2BackingInfo(fileName="[ds1] w/w.vmdk", diskMode="persistent")
    old = device.VirtualDisk(key=2000, controllerKey=1000, unitNumber=0, capacityInKB=8 << 20, backing=thin)
    old.capacityInBytes = None
    assert [each.capacity_bytes for each in read(old).disks] == [8 << 30]
