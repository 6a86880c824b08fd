"""What recordings of real vCenters showed, in the shapes in which they had it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pyVmomi import SoapAdapter, vim

from migratekit_cli.commands import discover
from migratekit_cli.reports.assessment import people
from migratekit_core.adapters.vsphere.inventory import (
    Filter,
    GuestAddress,
    GuestVolume,
    Nic,
    VirtualMachine,
    choose,
    forms,
)
from migratekit_core.adapters.vsphere.inventory.collector import read_answer
from migratekit_core.adapters.vsphere.inventory.machine import DEVICES, read_machine
from migratekit_core.adapters.vsphere.inventory.networks import card_network
from migratekit_core.adapters.vsphere.inventory.places import Places
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.schema import Config
from migratekit_core.services.assessment import systems
from migratekit_core.services.assessment.assessment import assess
from migratekit_core.services.assessment.site import Site
from migratekit_core.services.assessment.sizing import size
from migratekit_core.services.networks.model import Entry, NetworkMap, join
from migratekit_core.services.replication.sync import check_source
from migratekit_core.services.waves.planning.candidates import UNFIT, Found
from migratekit_core.services.waves.planning.plan import plan
from migratekit_core.services.waves.rules import Rules
from tests.unit.inside import run
from tests.unit.inventory import GIB, STORE, disk, machine, nic, write
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


# Guests.


def guest(own: str = "", reported: str = "", configured: str = "debian12_64Guest") -> VirtualMachine:
    extra = {"guestInfo.detailed.data": own} if own else {}
    return machine(guest_id=configured, guest_name="", guest_reported_id=reported, extra_config=extra)


DEBIAN_11 = (
    "architecture='X86' bitness='64' distroName='Debian GNU/Linux' distroVersion='11' familyName='Linux' "
    "kernelVersion='5.10.0-21-amd64' prettyName='Debian GNU/Linux 11 (bullseye)'"
)
RHEL_5 = (
    "bitness='64' distroName='Red Hat Enterprise Linux Server' distroVersion='5.11' familyName='Linux' "
    "kernelVersion='2.6.18-398.el5'"
)
ETCH = "bitness='32' distroName='Debian GNU/Linux' distroVersion='4.0' familyName='Linux' kernelVersion='2.6.18-6-686'"
HOME_MADE = "bitness='32' distroName='Homemade' familyName='Linux' kernelVersion='2.4.37'"
WINDOWS = "bitness='64' distroName='Windows' distroVersion='10.0' familyName='Windows' prettyName='Windows Server 2019'"
DARWIN = "bitness='64' distroName='macOS' distroVersion='12.6' familyName='Darwin' prettyName='macOS 12.6'"


@pytest.mark.parametrize(
    ("vm", "old"),
    [
        # Configured when it was made, upgraded ever since.
        (guest(DEBIAN_11, "debian11_64Guest", "debian5_64Guest"), False),
        (guest("", "debian11_64Guest", "debian5_64Guest"), False),
        (guest("", "otherLinux64Guest", "debian5_64Guest"), True),
        (guest("", "other3xLinux64Guest", "debian5_64Guest"), False),
        (guest("", "", "debian5_64Guest"), True),
        # Its kernel is old, and has virtio drivers all the same.
        (guest(RHEL_5, "rhel5_64Guest", "rhel4_64Guest"), False),
        (guest(ETCH, "", "debian12_64Guest"), True),
        (guest(HOME_MADE, "", "debian12_64Guest"), True),
        (guest(WINDOWS, "", "debian5_64Guest"), False),
    ],
)
def test_the_guest_is_believed_before_the_tools_and_the_setting(vm: VirtualMachine, old: bool) -> None:
    assert (systems.before_virtio(vm) is not None) is old
    assert ("MK-GUEST-004" in hit(vm)) is old


@pytest.mark.parametrize(
    ("vm", "cannot"),
    [
        (guest(DEBIAN_11, "", "darwin22_64Guest"), False),
        (guest("", "debian11_64Guest", "darwin22_64Guest"), False),
        (guest(DARWIN, "", "debian12_64Guest"), True),
        (guest("", "", "darwin22_64Guest"), True),
        (guest("", "vmkernel65Guest", "other3xLinux64Guest"), True),
    ],
)
def test_what_cannot_run_on_kvm_is_judged_by_what_runs(vm: VirtualMachine, cannot: bool) -> None:
    assert ("MK-GUEST-001" in hit(vm)) is cannot


@pytest.mark.parametrize(
    ("vm", "by"),
    [
        (guest(DEBIAN_11, "debian11_64Guest", "debian5_64Guest"), ["the guest", "VMware Tools", "the setting"]),
        # Old VMware Tools know no CentOS 7.
        (guest("", "centos6_64Guest", "centos7_64Guest"), ["VMware Tools", "the setting"]),
        (guest(DEBIAN_11, "", "debian11_64Guest"), []),
        # Generic ids contradict nobody.
        (guest(DEBIAN_11, "", "other5xLinux64Guest"), []),
        (guest(WINDOWS, "", "windows2019srv_64Guest"), []),
    ],
)
def test_a_release_that_two_disagree_on_is_said(vm: VirtualMachine, by: list[str]) -> None:
    assert [each.by for each in systems.disagreement(vm)] == by
    assert ("MK-GUEST-007" in hit(vm)) is bool(by)


def hit(vm: VirtualMachine) -> set[str]:
    """The rules about a machine that it hits."""
    return {finding.rule for finding in assess(Site(machines=(vm,), chosen=(vm,))).findings}


# Storage and clusters.


def test_on_vsan_the_copies_of_the_storage_are_no_data() -> None:
    """180 GiB committed, a disk of 60 GiB, 11 GiB used: an appliance of NSX on a vSAN that keeps three copies."""
    on_vsan: dict[str, Any] = {
        "datastores": (replace(STORE, type="vsan"),), "disks": (disk(capacity_bytes=60 * GIB),),
        "committed_bytes": 180 * GIB,
    }  # fmt: skip
    volumes = (GuestVolume("/", 40 * GIB, 33 * GIB), GuestVolume("/var", 20 * GIB, 16 * GIB))
    told = size([machine(guest_volumes=volumes, **on_vsan)])
    assert (told.allocated_bytes, told.at_most) == (11 * GIB, 0)
    # What no file system is on may be a database's.
    half = size([machine(guest_volumes=volumes[:1], **on_vsan)])
    assert (half.allocated_bytes, half.at_most) == (27 * GIB, 0)
    silent = size([machine(guest_volumes=(), **on_vsan), machine("other")])
    assert (silent.machines[0].allocated_bytes, silent.at_most) == (60 * GIB, 1)
    assert "at most" in people.sizes(silent)
    elsewhere = size([machine(guest_volumes=volumes, **{**on_vsan, "datastores": (STORE,)})])
    assert (elsewhere.allocated_bytes, elsewhere.at_most) == (60 * GIB, 0)


@pytest.mark.parametrize(
    ("drs", "behavior", "override"),
    [
        ({"enableVmBehaviorOverrides": False, "defaultVmBehavior": "fullyAutomated"}, "fullyAutomated", ""),
        ({"enableVmBehaviorOverrides": False, "defaultVmBehavior": "fullyAutomated"}, "manual", ""),
        ({"enableVmBehaviorOverrides": True, "defaultVmBehavior": "fullyAutomated"}, "manual", "manual"),
        ({"enableVmBehaviorOverrides": True, "defaultVmBehavior": "fullyAutomated"}, "fullyAutomated", ""),
        ({"defaultVmBehavior": "fullyAutomated"}, "manual", "manual"),
    ],
)
def test_an_override_of_drs_counts_where_the_cluster_has_them(drs: Any, behavior: str, override: str) -> None:
    config = vim.cluster.ConfigInfoEx(
        dasConfig=vim.cluster.DasConfigInfo(), drsConfig=vim.cluster.DrsConfigInfo(**drs),
        drsVmConfig=[vim.cluster.DrsVmConfigInfo(key=vim.VirtualMachine("vm-1"), enabled=True, behavior=behavior)],
    )  # fmt: skip
    around = Nowhere()
    around._remember_cluster(on_the_wire({"configurationEx": config}).properties["configurationEx"])
    assert around.drs_overrides.get("vm-1", "") == override


# Who is meant.


def managed(name: str, key: str, **more: Any) -> VirtualMachine:
    return machine(name, managed_by=key, **more)


OFF: dict[str, Any] = {"power": "poweredOff", "disks": ()}
AGENTS = (
    managed("vCLS-4c4c4544-0042-3510-8054-b9c04f4d5632", "com.vmware.vim.eam"),
    machine("vCLS (1)"),
    managed("nsx-agent", "com.vmware.vim.eam"),
    managed("web01", "com.vmware.vcDr", **OFF),
    managed("web02", "com.vmware.vcDr-siteB", **OFF),
    machine("gold", template=True),
)
MEANT = (
    # OpenStack Nova marks every machine that it makes.
    managed("instance-00000001", "org.openstack.compute"),
    # A machine that Site Recovery protects, or has brought over, is one.
    managed("web03", "com.vmware.vcDr"),
    managed("web04", "com.vmware.vcDr", power="poweredOff"),
    machine("empty", **OFF),
    machine("my vCLS notes"),
)


def test_all_leaves_agents_and_placeholders_out_by_name(tmp_path: Path) -> None:
    assert choose((*AGENTS, *MEANT), [], everything=True) == MEANT
    path = str(write(tmp_path / "inventory.json", *AGENTS, *MEANT))
    done = run("assess", "--all", "--offline", path, "-o", "json")
    assert [each["vm"] for each in json.loads(done.stdout)["machines"]] == [vm.name for vm in MEANT]
    assert "left out: agents of vSphere (3), placeholders of Site Recovery (2), templates (1)" in done.stderr


def test_waves_leave_the_same_out(tmp_path: Path) -> None:
    found = plan([Found(vm, "") for vm in (*AGENTS, *MEANT[:1], lost("inaccessible"), lost("invalid"))], Rules())
    assert [each.name for wave in found.waves for each in wave.machines] == [MEANT[0].name]
    assert "not planned: agents of vSphere (3), placeholders of Site Recovery (2), templates (1)" in found.notes
    assert [(each.vm, each.kind) for each in found.left_out] == [("web01", UNFIT), (PATH, UNFIT)]


PATH = "/vmfs/volumes/4e1f-9a/web01/web01.vmx"
"""The name of a machine that vSphere cannot read the files of."""


def lost(state: str) -> VirtualMachine:
    """An inaccessible machine may have its whole configuration; an invalid one has none, and its path for a name."""
    if state == "inaccessible":
        return machine("web01", connection=state)
    invalid = {"name": PATH, "runtime.connectionState": "invalid", "runtime.powerState": "poweredOff"}
    return read_machine(on_the_wire(invalid), Nowhere())


@pytest.mark.parametrize("state", ["inaccessible", "invalid"])
def test_what_vsphere_has_lost_is_listed_as_that(state: str, tmp_path: Path) -> None:
    vm = lost(state)
    assert vm.connection == state
    assert discover._table_row(vm)[:2] == (vm.name, state)
    assert str(discover._csv_row(vm)[5]) == state
    assert choose((vm,), [vm.name], everything=False) == (vm,)
    assert choose((vm,), [vm.path], everything=False) == (vm,)
    assert "MK-STATE-003" in hit(vm)
    done = run("assess", "--all", "--offline", str(write(tmp_path / "i.json", vm)), "-o", "json")
    assert done.returncode == 3
    assert [each["verdict"] for each in json.loads(done.stdout)["machines"]] == ["blocked"]
    with pytest.raises(PreconditionError) as raised:
        check_source(Config(), vm)
    assert raised.value.code is ErrorCode.VM_UNFIT
