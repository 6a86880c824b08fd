"""The inventory's own reader of vSphere's answers: what pyVmomi writes, it must read as pyVmomi means it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from pyVmomi import SoapAdapter, vim, vmodl
from pyVmomi.VmomiSupport import GetVmodlType, _dataDefMap

from migratekit_core.adapters.vsphere.inventory import GuestAddress, VirtualMachine
from migratekit_core.adapters.vsphere.inventory.collector import Found, read_answer
from migratekit_core.adapters.vsphere.inventory.devices import CARDS, Hardware, read_hardware
from migratekit_core.adapters.vsphere.inventory.machine import DEVICES, EXTRA_CONFIG_LIMIT, read_machine
from migratekit_core.adapters.vsphere.inventory.places import Places

device = vim.vm.device
CONNECTED = device.VirtualDevice.ConnectInfo(startConnected=True, allowGuestControl=True, connected=True)


def on_the_wire(properties: dict[str, Any]) -> Found:
    """Write a machine's properties as vSphere does, with pyVmomi's serializer, and read them with ours."""
    query = vmodl.query.PropertyCollector
    changes = [vmodl.DynamicProperty(name=name, val=value) for name, value in properties.items()]
    content = query.ObjectContent(obj=vim.VirtualMachine("vm-1"), propSet=changes)
    text = SoapAdapter.SerializeToStr(query.RetrieveResult(objects=[content]), version="vim.version.v8_0_2_0")
    result = re.sub(r"^<obj (.*)</obj>$", r"<returnval \1</returnval>", text, flags=re.DOTALL)
    answer = f'<Envelope><Body><Response xmlns="urn:vim25">{result}</Response></Body></Envelope>'
    (found,) = read_answer(answer.encode())
    return found


class Nowhere(Places):
    """Surroundings of which the account may see nothing but the network and the datastore that it is given."""

    def __init__(self, networks: dict[str, tuple[str, str]] | None = None) -> None:
        self._found, self._paths, self._networks = {}, {}, networks or {}
        self.datastores, self.drs_overrides, self.ha_overrides, self.drs_rules = {}, {}, {}, {}


def machine(**properties: Any) -> VirtualMachine:
    named = {name.replace("__", "."): value for name, value in properties.items()}
    return read_machine(on_the_wire({"name": "web01", **named}), Nowhere())


def array(kind: str, values: Sequence[Any]) -> Any:
    return GetVmodlType(f"{kind}[]")(values)


def hardware(*devices: Any, places: Places | None = None) -> Hardware:
    found = on_the_wire({DEVICES: array("vim.vm.device.VirtualDevice", devices)})
    return read_hardware(found.properties[DEVICES], {}, places or Nowhere())


def below(base: type) -> set[str]:
    """The names of all types below one, as pyVmomi knows them."""
    prefix = "vim.vm.device."
    names = [name.removeprefix(prefix) for name in _dataDefMap if name.startswith(prefix)]
    kinds = {name: getattr(device, name) for name in names if "." not in name}
    return {name for name, kind in kinds.items() if issubclass(kind, base) and kind is not base}


def test_every_card_that_pyvmomi_knows_is_a_card() -> None:
    assert below(device.VirtualEthernetCard) == CARDS


def test_a_bus_number_makes_a_controller() -> None:
    controllers = below(device.VirtualController)
    assert len(controllers) > 10
    for name in controllers:
        bus = {"sharedBus": "noSharing"} if "SCSI" in name or "Logic" in name else {}
        found = hardware(getattr(device, name)(key=7, busNumber=1, **bus)).controllers
        assert [(c.type, c.bus_sharing) for c in found] == [(name, bus.get("sharedBus", ""))]
    for name in below(device.VirtualDevice) - controllers - {"VirtualController"}:
        assert not hardware(getattr(device, name)(key=7)).controllers, name


@pytest.mark.parametrize("kind", sorted(CARDS))
def test_cards(kind: str) -> None:
    backing = device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network", network=vim.Network("network-7"))
    card = getattr(device, kind)(
        key=4000,
        deviceInfo=vim.Description(label="Network adapter 1", summary="VM Network"),
        macAddress="00:50:56:01:02:03",
        addressType="manual",
        connectable=CONNECTED,
        backing=backing,
    )
    (nic,) = hardware(card, places=Nowhere({"network-7": ("network-7", "VM Network")})).nics
    assert (nic.type, nic.label, nic.mac) == (
        kind.removeprefix("Virtual").lower(),
        "Network adapter 1",
        card.macAddress,
    )
    assert (nic.mac_type, nic.connected, nic.start_connected) == ("manual", True, True)
    assert (nic.network, nic.network_moref, nic.network_kind, nic.unresolved) == (
        "VM Network",
        "network-7",
        "standard",
        "",
    )


def test_networks_are_named_or_said_why_not() -> None:
    ethernet = device.VirtualEthernetCard
    port = vim.dvs.PortConnection(switchUuid="50 01", portgroupKey="dvportgroup-9")
    distributed = ethernet.DistributedVirtualPortBackingInfo(port=port)
    opaque = ethernet.OpaqueNetworkBackingInfo(opaqueNetworkId="seg-1", opaqueNetworkType="nsx.LogicalSwitch")
    gone = ethernet.NetworkBackingInfo(deviceName="Old LAN")
    cards = [device.VirtualVmxnet3(key=4000 + n, backing=b) for n, b in enumerate([distributed, opaque, gone, None])]
    known = Nowhere({"dvportgroup-9": ("dvportgroup-9", "prod"), "seg-1": ("network-o3", "overlay")})
    assert [(n.network, n.network_kind) for n in hardware(*cards, places=known).nics] == [
        ("prod", "distributed"), ("overlay", "opaque"), ("Old LAN", "standard"), ("", ""),
    ]  # fmt: skip
    blind = hardware(*cards, places=Nowhere({})).nics
    assert "dvportgroup-9 does not exist any more" in blind[0].unresolved
    assert "seg-1 (nsx.LogicalSwitch) does not exist any more, or is not visible" in blind[1].unresolved
    assert (blind[2].network, blind[2].unresolved) == ("Old LAN", "")
    assert "no network backing" in blind[3].unresolved


def test_disks() -> None:
    kind = device.VirtualDisk
    base = kind.FlatVer2BackingInfo(fileName="[ds1] w/w.vmdk", diskMode="persistent")
    middle = kind.FlatVer2BackingInfo(fileName="[ds1] w/w-000001.vmdk", diskMode="persistent", parent=base)
    backings: list[Any] = [
        kind.FlatVer2BackingInfo(
            fileName="[ds1] w/w-000002.vmdk", datastore=vim.Datastore("datastore-3"), diskMode="independent_persistent",
            thinProvisioned=True, writeThrough=True, uuid="6000C29", changeId="52 aa/7", sharing="sharingMultiWriter",
            parent=middle, keyId=vim.encryption.CryptoKeyId(keyId="k1"),
        ),
        kind.RawDiskMappingVer1BackingInfo(
            fileName="[ds1] w/rdm.vmdk", diskMode="persistent", compatibilityMode="physicalMode", lunUuid="0200"
        ),
        kind.SeSparseBackingInfo(fileName="[ds2] w/se.vmdk", diskMode="persistent"),
        kind.FlatVer2BackingInfo(fileName="[ds1] w/eager.vmdk", diskMode="persistent", eagerlyScrub=True),
    ]  # fmt: skip
    disks = [
        kind(
            key=2000 + n,
            controllerKey=1000 + n % 2,
            unitNumber=n,
            capacityInBytes=(n + 1) << 30,
            capacityInKB=0,
            backing=b,
        )
        for n, b in enumerate(backings)
    ]
    disks[3].capacityInBytes, disks[3].capacityInKB = None, 4 << 20
    scsi = device.ParaVirtualSCSIController(key=1000, busNumber=0, sharedBus="physicalSharing", unitNumber=3)
    nvme = device.VirtualNVMEController(key=1001, busNumber=0)
    found = hardware(*disks, scsi, nvme)
    assert [(c.key, c.type, c.bus_sharing) for c in found.controllers] == [
        (1000, "ParaVirtualSCSIController", "physicalSharing"), (1001, "VirtualNVMEController", ""),
    ]  # fmt: skip
    first, third, second, fourth = found.disks
    assert (first.backing, first.mode, first.sharing, first.provisioning) == (
        "FlatVer2", "independent_persistent", "sharingMultiWriter", "thin",
    )  # fmt: skip
    assert (first.has_parent, first.parent_path, first.base_path) == (True, middle.fileName, base.fileName)
    assert (first.encrypted, first.write_through, first.change_id, first.uuid) == (True, True, "52 aa/7", "6000C29")
    assert (first.datastore, first.datastore_moref, first.controller) == (
        "ds1",
        "datastore-3",
        "ParaVirtualSCSIController",
    )
    assert (second.backing, second.rdm_mode, second.controller) == (
        "RawDiskMappingVer1",
        "physicalMode",
        "VirtualNVMEController",
    )
    assert (third.backing, third.datastore, third.base_path, third.has_parent) == (
        "SeSparse",
        "ds2",
        "[ds2] w/se.vmdk",
        False,
    )
    assert (fourth.provisioning, fourth.capacity_bytes, fourth.unit_number) == ("eager", 4 << 30, 3)
    assert not fourth.encrypted


def test_other_devices() -> None:
    passthrough = device.VirtualPCIPassthrough
    found = hardware(
        device.VirtualCdrom(
            key=3000, controllerKey=200, unitNumber=1, connectable=CONNECTED,
            backing=device.VirtualCdrom.IsoBackingInfo(fileName="[iso] a.iso"),
        ),
        device.VirtualFloppy(key=8000, backing=device.VirtualFloppy.RemoteDeviceBackingInfo(deviceName="")),
        device.VirtualSerialPort(
            key=9000, yieldOnPoll=True,
            backing=device.VirtualSerialPort.URIBackingInfo(serviceURI="telnet://:1", direction="server"),
        ),
        device.VirtualParallelPort(
            key=10000, backing=device.VirtualParallelPort.DeviceBackingInfo(deviceName="/dev/parport0")
        ),
        device.VirtualUSB(
            key=11000, connected=True, backing=device.VirtualUSB.RemoteHostBackingInfo(deviceName="key", hostname="h")
        ),
        passthrough(key=13000, backing=passthrough.VmiopBackingInfo(vgpu="grid_p40-8q")),
        device.VirtualTPM(key=11001),
    )  # fmt: skip
    assert [(d.key, d.type, d.backing, d.backing_name, d.connected) for d in found.devices] == [
        (3000, "VirtualCdrom", "VirtualCdromIso", "[iso] a.iso", True),
        (8000, "VirtualFloppy", "VirtualFloppyRemoteDevice", "", False),
        (9000, "VirtualSerialPort", "VirtualSerialPortURI", "telnet://:1", False),
        (10000, "VirtualParallelPort", "VirtualParallelPortDevice", "/dev/parport0", False),
        (11000, "VirtualUSB", "VirtualUSBRemoteHost", "key", True),
        (13000, "VirtualPCIPassthrough", "VirtualPCIPassthroughVmiop", "grid_p40-8q", False),
        (11001, "VirtualTPM", "", "", False),
    ]
    assert (found.devices[0].controller_key, found.devices[0].unit_number) == (200, 1)


def test_what_is_promised_to_a_machine() -> None:
    vm = machine(
        config__cpuAllocation=vim.ResourceAllocationInfo(reservation=500, limit=2000),
        config__memoryAllocation=vim.ResourceAllocationInfo(reservation=1024, limit=-1),
        config__memoryReservationLockedToMax=True,
        config__cpuAffinity=vim.vm.AffinityInfo(affinitySet=[2, 3]),
        config__memoryAffinity=vim.vm.AffinityInfo(affinitySet=[]),
        config__latencySensitivity=vim.LatencySensitivity(level="high"),
        config__bootOptions=vim.vm.BootOptions(efiSecureBootEnabled=True),
        config__keyId=vim.encryption.CryptoKeyId(keyId="k1"),
        config__managedBy=vim.ext.ManagedByInfo(extensionKey="com.vmware.vim.eam", type="cluster-agent"),
        config__cpuHotAddEnabled=True,
        runtime__faultToleranceState="running",
        capability__changeTrackingSupported=False,
        summary__storage=vim.vm.Summary.StorageSummary(
            committed=5 << 30, uncommitted=1 << 30, unshared=0, timestamp=datetime.now(UTC)
        ),
    )
    assert (vm.cpu_reservation_mhz, vm.cpu_limit_mhz) == (500, 2000)
    assert (vm.memory_reservation_mib, vm.memory_limit_mib, vm.memory_reservation_locked) == (1024, None, True)
    assert (vm.cpu_affinity, vm.memory_affinity, vm.latency_sensitivity) == ((2, 3), (), "high")
    assert (vm.secure_boot, vm.encrypted, vm.managed_by) == (True, True, "com.vmware.vim.eam")
    assert (vm.cpu_hot_add, vm.cpu_hot_remove, vm.fault_tolerance) == (True, False, "running")
    assert (vm.cbt_supported, vm.committed_bytes, vm.uncommitted_bytes) == (False, 5 << 30, 1 << 30)


def test_snapshots_parents_first() -> None:
    def tree(name: str, *children: Any) -> Any:
        return vim.vm.SnapshotTree(
            snapshot=vim.vm.Snapshot(name), vm=vim.VirtualMachine("vm-1"), name=name, description=f"of {name}", id=1,
            createTime=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), state="poweredOn", quiesced=name == "b",
            replaySupported=False, childSnapshotList=list(children),
        )  # fmt: skip

    info = vim.vm.SnapshotInfo(
        currentSnapshot=vim.vm.Snapshot("c"), rootSnapshotList=[tree("a", tree("b", tree("c"))), tree("d")]
    )
    vm = machine(snapshot=info)
    found = {snapshot.moref: snapshot for snapshot in vm.snapshots}
    assert vm.has_snapshots
    assert {name: found[name].parent for name in found} == {"a": None, "b": "a", "c": "b", "d": None}
    morefs = [snapshot.moref for snapshot in vm.snapshots]
    assert morefs.index("a") < morefs.index("b") < morefs.index("c")
    assert [name for name in found if found[name].current] == ["c"]
    assert [name for name in found if found[name].quiesced] == ["b"]
    assert found["a"].description == "of a"
    assert found["a"].created.startswith("2026-01-02T03:04:05")


def test_what_the_tools_say() -> None:
    guest = vim.vm.GuestInfo
    address = vim.net.IpConfigInfo.IpAddress
    nets = [
        guest.NicInfo(
            deviceConfigId=4000, connected=True, ipAddress=["10.1.1.5", "fe80::1"],
            ipConfig=vim.net.IpConfigInfo(ipAddress=[
                address(ipAddress="10.1.1.5", prefixLength=22, origin="manual"),
                address(ipAddress="fe80::1", prefixLength=64, origin="linklayer"),
            ]),
            dnsConfig=vim.net.DnsConfigInfo(dhcp=False, hostName="web01", domainName=""),
        ),
        guest.NicInfo(deviceConfigId=-1, connected=True, ipAddress=["172.17.0.1"]),
    ]  # fmt: skip
    routes = vim.net.IpRouteConfigInfo

    def to(network: str, prefix: int, gateway: str) -> Any:
        return routes.IpRoute(network=network, prefixLength=prefix, gateway=routes.Gateway(ipAddress=gateway))

    stack = guest.StackInfo(
        dnsConfig=vim.net.DnsConfigInfo(dhcp=False, hostName="web01", domainName="", ipAddress=["10.1.1.53"]),
        ipRouteConfig=routes(
            ipRoute=[to("0.0.0.0", 0, "10.1.0.1"), to("10.9.0.0", 16, "10.1.0.9"), to("::", 0, "fe80::99")]
        ),
    )
    card = device.VirtualVmxnet3(key=4000)
    found = read_machine(
        on_the_wire(
            {
                "name": "web01",
                DEVICES: array("vim.vm.device.VirtualDevice", [card]),
                "guest.net": array("vim.vm.GuestInfo.NicInfo", nets),
                "guest.ipStack": array("vim.vm.GuestInfo.StackInfo", [stack]),
                "guest.hostName": "web01.example",
            }
        ),
        Nowhere(),
    )
    (nic,) = found.nics
    assert nic.ip_addresses == ("10.1.1.5", "fe80::1")
    assert nic.addresses == (GuestAddress("10.1.1.5", 22, "manual"), GuestAddress("fe80::1", 64, "linklayer"))
    assert nic.dhcp is False
    assert found.gateways == ("10.1.0.1", "fe80::99")
    assert (found.dns_servers, found.guest_hostname) == (("10.1.1.53",), "web01.example")


def test_extra_config_keeps_what_matters() -> None:
    settings = {
        "scsi0:0.ctkEnabled": "TRUE", "disk.enableUUID": "TRUE", "guestInfo.detailed.data": "x" * 9000,
        "svga.present": "TRUE", "pciPassthru.use64bitMMIO": "TRUE", "nvram": "w.nvram",
        "guestinfo.userdata": "password: hunter2",
    }  # fmt: skip
    options = array("vim.option.OptionValue", [vim.option.OptionValue(key=k, value=v) for k, v in settings.items()])
    kept = machine(config__extraConfig=options).extra_config
    assert kept == {
        "scsi0:0.ctkEnabled": "TRUE", "disk.enableUUID": "TRUE", "pciPassthru.use64bitMMIO": "TRUE",
        "guestInfo.detailed.data": "x" * EXTRA_CONFIG_LIMIT, "guestinfo.userdata": "",
    }  # fmt: skip


def test_names_that_xml_must_escape() -> None:
    assert machine(name="a<b>&\"c' é 日本\t").name.rstrip("\t") == "a<b>&\"c' é 日本"


@pytest.mark.parametrize("state", ["inaccessible", "orphaned", "invalid", "disconnected"])
def test_a_machine_of_which_little_is_known(state: str) -> None:
    vm = machine(runtime__connectionState=state)
    assert (vm.name, vm.moref, vm.connection) == ("web01", "vm-1", state)
    assert (vm.uuid, vm.disks, vm.nics, vm.snapshots, vm.host, vm.firmware) == ("", (), (), (), None, "bios")
