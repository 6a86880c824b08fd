"""An estate of odd machines in the lab's vCenter: each has one trait that a rule is about, and is named after it.

What the vSphere API can bring about is done through it; the rest (states that only happen, devices that vcsim does not
make) is set through the simulator's own endpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.lab.parts.vcenter import VCenter

GIB = 1 << 30
MAPPED = "VM Network"
Json = dict[str, Any]
Change = Callable[[Any], None]
ALWAYS = frozenset({"MK-DISK-013"})
"""Every machine of the estate has a thin disk, unless its case says otherwise."""


@dataclass(frozen=True)
class Odd:
    """A machine, and the rules that have to be hit on it: these, and no other."""

    name: str
    rules: frozenset[str]
    spec: Json = field(default_factory=dict)
    """What its entry in the simulator's inventory has instead of the usual."""
    change: Change | None = None
    """What is done to it through the vSphere API (argument: pyVmomi's object)."""
    properties: Json = field(default_factory=dict)
    """What is set through the simulator, in vSphere's JSON form."""
    target: str = ""
    """The rule about the target that is hit besides, where the target is looked at."""


def hits(*rules: str, thin: bool = True) -> frozenset[str]:
    """Return the rules of a case."""
    return frozenset(rules) | (ALWAYS if thin else frozenset())


def reconfigure(**settings: Any) -> Change:
    """Return a change of the machine's settings."""
    return lambda vm: WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(**settings)))


def edit_disk(**backing: Any) -> Change:
    """Return a change of the first disk's backing."""

    def change(vm: Any) -> None:
        disk = next(each for each in vm.config.hardware.device if isinstance(each, vim.vm.device.VirtualDisk))
        for name, value in backing.items():
            setattr(disk.backing, name, value)
        edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
        WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))

    return change


def add(device: Any) -> Change:
    """Return a change that adds a device."""

    def change(vm: Any) -> None:
        spec = vim.vm.device.VirtualDeviceSpec(operation="add", device=device)
        WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[spec])))

    return change


def snapshot(name: str) -> Change:
    """Return a change that takes a snapshot."""
    return lambda vm: WaitForTask(vm.CreateSnapshot_Task(name=name, description="", memory=False, quiesce=False))


def device(key: int, kind: str, **fields: Any) -> Json:
    """Return a device for the simulator."""
    described = {"_typeName": "Description", "label": fields.pop("label", kind), "summary": ""}
    return {f"config.hardware.device[{key}]": {"_typeName": kind, "key": key, "deviceInfo": described, **fields}}


def disk(
    name: str, kind: str = "VirtualDiskFlatVer2BackingInfo", *, controller: int = 1000, gib: int = 1, **backing: Any
) -> Json:
    """Return the first disk of a machine with another backing."""
    base = {
        "_typeName": kind,
        "fileName": f"[LocalDS_0] {name}/disk1.vmdk",
        "diskMode": "persistent",
        "changeId": "52 01 02/7",
    }
    if kind == "VirtualDiskFlatVer2BackingInfo":
        base["thinProvisioned"] = True
    return device(
        2000,
        "VirtualDisk",
        label="Hard disk 1",
        controllerKey=controller,
        unitNumber=0,
        capacityInKB=gib * GIB // 1024,
        capacityInBytes=gib * GIB,
        backing={key: value for key, value in {**base, **backing}.items() if value is not None},
    )


def on_controller(name: str, kind: str) -> Json:
    """Return the first disk of a machine on a controller of this kind."""
    controller = device(31000, kind, label="another controller", busNumber=0, device=[2000])
    return {**controller, **disk(name, controller=31000)}


def on_store(name: str, moref: str) -> Json:
    """Return the first disk of a machine on another datastore."""
    reference = {"_typeName": "ManagedObjectReference", "type": "Datastore", "value": moref}
    return disk(name, datastore=reference)


def card(kind: str, backing: Json | None = None, **fields: Any) -> Json:
    """Return the first network card of a machine."""
    standard = {"_typeName": "VirtualEthernetCardNetworkBackingInfo", "deviceName": MAPPED}
    plugged = {"_typeName": "VirtualDeviceConnectInfo", "connected": True, "startConnected": True}
    return device(
        4000, kind, **{"label": "Network adapter 1", "backing": backing or standard, "connectable": plugged, **fields}
    )


def volume(path: str, capacity: int, *keys: int, filesystem: str = "") -> Json:
    """Return a file system of the guest."""
    mappings = [{"_typeName": "GuestInfoVirtualDiskMapping", "key": key} for key in keys]
    return {
        "_typeName": "GuestDiskInfo",
        "diskPath": path,
        "capacity": capacity,
        "freeSpace": 0,
        **({"filesystemType": filesystem} if filesystem else {}),
        **({"mappings": mappings} if mappings else {}),
    }


def route(gateway: str) -> Json:
    """Return a default route."""
    return {
        "_typeName": "NetIpRouteConfigInfoIpRoute",
        "network": "0.0.0.0",
        "prefixLength": 0,
        "gateway": {"_typeName": "NetIpRouteConfigInfoGateway", "ipAddress": gateway},
    }


def key(provider: str = "kms1") -> Json:
    """Return the id of an encryption key."""
    return {"_typeName": "CryptoKeyId", "keyId": "key-1", "providerId": {"_typeName": "KeyProviderId", "id": provider}}


SERIAL = vim.vm.device.VirtualSerialPort(
    key=-1,
    yieldOnPoll=True,
    backing=vim.vm.device.VirtualSerialPort.URIBackingInfo(serviceURI="telnet://:9000", direction="server"),
)
PARALLEL = vim.vm.device.VirtualParallelPort(
    key=-1, backing=vim.vm.device.VirtualParallelPort.FileBackingInfo(fileName="[LocalDS_0] out.txt")
)
FLOPPY = vim.vm.device.VirtualFloppy(
    key=-1, backing=vim.vm.device.VirtualFloppy.RemoteDeviceBackingInfo(deviceName="", useAutoDetect=False)
)
WINDOWS = {"guest_id": "windows2019srv_64Guest"}
GONE = {
    "_typeName": "VirtualEthernetCardDistributedVirtualPortBackingInfo",
    "port": {
        "_typeName": "DistributedVirtualSwitchPortConnection",
        "switchUuid": "gone",
        "portgroupKey": "dvportgroup-gone",
    },
}
PASSED = {
    "_typeName": "VirtualPCIPassthroughDeviceBackingInfo",
    "id": "0000:3b:00.0",
    "deviceName": "NIC",
    "deviceId": "1",
    "systemId": "1",
    "vendorId": 1,
}

TAKEN = {"name": "taken01", "ip": "10.1.1.250", "mac": "00:50:56:00:00:77"}
"""A machine that the tests of the target deploy there."""

MACHINES: tuple[Odd, ...] = (
    Odd("plain", hits()),
    # Disks.
    Odd("diskless", hits("MK-DISK-001", thin=False), {"disks": []}),
    Odd("independent", hits("MK-DISK-002"), change=edit_disk(diskMode="independent_persistent")),
    Odd(
        "rdm-physical",
        hits("MK-DISK-003", thin=False),
        properties=disk(
            "rdm-physical", "VirtualDiskRawDiskMappingVer1BackingInfo", compatibilityMode="physicalMode", changeId=None
        ),
    ),
    Odd(
        "rdm-virtual",
        hits("MK-DISK-004", thin=False),
        properties=disk("rdm-virtual", "VirtualDiskRawDiskMappingVer1BackingInfo", compatibilityMode="virtualMode"),
    ),
    Odd("multi-writer", hits("MK-DISK-005"), change=edit_disk(sharing="sharingMultiWriter")),
    Odd("shared-a", hits("MK-DISK-006")),
    Odd("shared-b", hits("MK-DISK-006"), properties=disk("shared-a")),
    Odd(
        "bus-sharing",
        hits("MK-DISK-007"),
        properties=device(
            1000, "ParaVirtualSCSIController", label="SCSI controller 0", busNumber=0, sharedBus="physicalSharing"
        ),
    ),
    Odd("encrypted-disk", hits("MK-DISK-008"), properties=disk("encrypted-disk", keyId=key())),
    Odd("se-sparse", hits("MK-DISK-009", thin=False), properties=disk("se-sparse", "VirtualDiskSeSparseBackingInfo")),
    Odd(
        "linked-clone",
        hits("MK-DISK-010"),
        properties=disk(
            "linked-clone",
            fileName="[LocalDS_0] linked-clone/disk1-000001.vmdk",
            parent={
                "_typeName": "VirtualDiskFlatVer2BackingInfo",
                "fileName": "[LocalDS_0] gold/disk1.vmdk",
                "diskMode": "persistent",
            },
        ),
    ),
    Odd("odd-size", hits("MK-DISK-011"), {"disks": [{"size_bytes": GIB + 512, "provisioning": "thin"}]}),
    Odd("thick", hits("MK-DISK-012", thin=False), {"disks": [{"size_bytes": GIB, "provisioning": "thick"}]}),
    Odd("nvme", hits("MK-DISK-014"), properties=on_controller("nvme", "VirtualNVMEController")),
    Odd("ide", hits("MK-DISK-014"), properties=on_controller("ide", "VirtualIDEController")),
    Odd("sata", hits("MK-DISK-014"), properties=on_controller("sata", "VirtualAHCIController")),
    Odd(
        "many-disks",
        hits("MK-TGT-101"),
        {"disks": [{"size_bytes": GIB, "provisioning": "thin"}] * 33},
        target="MK-TGT-101",
    ),
    # Snapshots and change tracking.
    Odd("old-hardware", hits("MK-CBT-001"), {"hardware_version": "vmx-04"}),
    Odd("untracked", hits("MK-CBT-002"), {"cbt": False}),
    Odd(
        "disk-excluded",
        hits("MK-CBT-003"),
        change=reconfigure(extraConfig=[vim.option.OptionValue(key="scsi0:0.ctkEnabled", value="FALSE")]),
    ),
    Odd("cannot-track", hits("MK-CBT-004", "MK-SNAP-001"), {"cbt": False}, change=snapshot("backup")),
    Odd("snapshot", hits("MK-SNAP-001"), change=snapshot("before the update")),
    Odd("consolidate", hits("MK-SNAP-002"), properties={"runtime.consolidationNeeded": True}),
    Odd("interrupted", hits("MK-SNAP-003"), change=snapshot("migratekit-0815")),
    # Devices and firmware.
    Odd("pci", hits("MK-DEV-001"), properties=device(13000, "VirtualPCIPassthrough", backing=PASSED)),
    Odd("sriov", hits("MK-DEV-002"), properties=card("VirtualSriovEthernetCard", macAddress="00:50:56:02:00:01")),
    Odd(
        "vgpu",
        hits("MK-DEV-003"),
        properties=device(
            13000,
            "VirtualPCIPassthrough",
            backing={"_typeName": "VirtualPCIPassthroughVmiopBackingInfo", "vgpu": "grid_p40-1q"},
        ),
    ),
    Odd(
        "usb",
        hits("MK-DEV-004"),
        properties=device(
            9000,
            "VirtualUSB",
            connected=True,
            backing={"_typeName": "VirtualUSBUSBBackingInfo", "deviceName": "path:1/0/2"},
        ),
    ),
    Odd("serial", hits("MK-DEV-005"), change=add(SERIAL)),
    Odd("parallel", hits("MK-DEV-006"), change=add(PARALLEL)),
    Odd("floppy", hits("MK-DEV-007"), change=add(FLOPPY)),
    Odd(
        "cdrom",
        hits("MK-DEV-008"),
        properties=device(
            3000,
            "VirtualCdrom",
            backing={"_typeName": "VirtualCdromIsoBackingInfo", "fileName": "[LocalDS_0] tools.iso"},
            connectable={"_typeName": "VirtualDeviceConnectInfo", "connected": True, "startConnected": True},
        ),
    ),
    Odd("vtpm", hits("MK-DEV-009"), properties=device(11000, "VirtualTPM")),
    Odd("encrypted", hits("MK-DEV-010"), properties={"config.keyId": key()}),
    Odd(
        "secure-boot",
        hits("MK-DEV-011", "MK-DEV-012"),
        {"firmware": "efi"},
        change=reconfigure(bootOptions=vim.vm.BootOptions(efiSecureBootEnabled=True)),
    ),
    Odd("uefi", hits("MK-DEV-012"), {"firmware": "efi"}),
    Odd("nvdimm", hits("MK-DEV-013"), properties=device(28000, "VirtualNVDIMM", capacityInMB=64)),
    # CPU and memory.
    Odd("cpu-hot-add", hits("MK-CPU-001"), change=reconfigure(cpuHotAddEnabled=True)),
    Odd("cpu-affinity", hits("MK-CPU-002"), change=reconfigure(cpuAffinity=vim.vm.AffinityInfo(affinitySet=[2, 3]))),
    Odd("numa-affinity", hits("MK-CPU-003"), change=reconfigure(memoryAffinity=vim.vm.AffinityInfo(affinitySet=[1]))),
    Odd(
        "cpu-reservation",
        hits("MK-CPU-004"),
        change=reconfigure(cpuAllocation=vim.ResourceAllocationInfo(reservation=1000, limit=-1)),
    ),
    Odd(
        "latency",
        hits("MK-CPU-005"),
        change=reconfigure(latencySensitivity=vim.LatencySensitivity(level="high")),
    ),
    Odd("memory-hot-add", hits("MK-MEM-001"), change=reconfigure(memoryHotAddEnabled=True)),
    Odd("memory-reservation", hits("MK-MEM-002"), change=reconfigure(memoryReservationLockedToMax=True)),
    Odd("tiny", hits("MK-MEM-003"), {"memory_mb": 16}),
    # State.
    Odd("off", hits("MK-STATE-001"), {"power": "off"}),
    Odd("suspended", hits("MK-STATE-002"), change=lambda vm: WaitForTask(vm.SuspendVM_Task())),
    Odd("orphaned", hits("MK-STATE-003"), properties={"runtime.connectionState": "orphaned"}),
    Odd("gold", hits("MK-STATE-004"), {"power": "off"}, change=lambda vm: vm.MarkAsTemplate()),
    Odd("no-tools", hits("MK-STATE-005"), {"tools": "notRunning"}),
    Odd("old-tools", hits("MK-STATE-006"), properties={"guest.toolsVersionStatus2": "guestToolsNeedUpgrade"}),
    Odd(
        "agent",
        hits("MK-STATE-007"),
        change=reconfigure(managedBy=vim.ext.ManagedByInfo(extensionKey="com.vmware.vim.eam", type="cluster-agent")),
    ),
    Odd(
        "nova",
        hits("MK-STATE-008"),
        change=reconfigure(managedBy=vim.ext.ManagedByInfo(extensionKey="org.openstack.compute", type="instance")),
    ),
    # Placement; the cluster's settings are in `place`.
    Odd("fault-tolerant", hits("MK-PLACE-001"), properties={"runtime.faultToleranceState": "running"}),
    Odd("drs-override", hits("MK-PLACE-002")),
    Odd("ha-override", hits("MK-PLACE-003")),
    Odd("apart-a", hits("MK-PLACE-004")),
    Odd("apart-b", hits("MK-PLACE-004")),
    Odd("on-certain-hosts", hits("MK-PLACE-004")),
    Odd("in-vapp", hits("MK-PLACE-005")),
    # Guests.
    Odd("macos", hits("MK-GUEST-001"), {"guest_id": "darwin22_64Guest"}),
    Odd("unheard-of", hits("MK-GUEST-002"), {"guest_id": "kolibri_64Guest"}),
    Odd("windows", hits("MK-GUEST-003"), WINDOWS),
    Odd("rhel4", hits("MK-GUEST-004"), {"guest_id": "rhel4_64Guest"}, target="MK-TGT-104"),
    Odd(
        "spanned", hits("MK-GUEST-005"), properties={"guest.disk": [volume("/data", GIB, 2000, 2001, filesystem="xfs")]}
    ),
    Odd("bitlocker", hits("MK-GUEST-003", "MK-GUEST-006"), WINDOWS, properties={"guest.disk": [volume("D:\\", 0)]}),
    Odd("other-guest", hits("MK-GUEST-007"), properties={"guest.guestId": "rhel9_64Guest"}),
    Odd(
        "cloud-init",
        hits("MK-GUEST-008"),
        change=reconfigure(extraConfig=[vim.option.OptionValue(key="guestinfo.userdata", value="password: hunter2")]),
    ),
    # Names.
    Odd("a/twin", hits("MK-NAME-001", "MK-NAME-006")),
    Odd("b/twin", hits("MK-NAME-001", "MK-NAME-006")),
    Odd("my shop.v2", hits("MK-NAME-002"), properties={"guest.hostName": "my-shop"}),
    Odd("col-lide", hits("MK-NAME-003")),
    Odd("col_lide", hits("MK-NAME-002", "MK-NAME-003"), properties={"guest.hostName": "other"}),
    Odd("nameless", hits("MK-NAME-004"), properties={"guest.hostName": "localhost.localdomain"}),
    Odd("long-name", hits("MK-NAME-005"), properties={"guest.hostName": "x" * 64 + ".example.org"}),
    Odd("clone-a", hits("MK-NAME-006"), properties={"guest.hostName": "original.example.org"}),
    Odd("clone-b", hits("MK-NAME-006"), properties={"guest.hostName": "original.example.org"}),
    # Networks.
    Odd("no-card", hits("MK-NET-001"), {"nics": []}),
    Odd(
        "unresolved",
        hits("MK-NET-002"),
        # The tools would tell what it was called.
        properties={**card("VirtualVmxnet3", GONE, macAddress="00:50:56:02:00:02"), "guest.net": []},
    ),
    Odd("unmapped", hits("MK-NET-003"), {"nics": [{"network": "DC0_DVPG0", "type": "vmxnet3"}]}),
    Odd(
        "two-gateways",
        hits("MK-NET-004"),
        properties={
            "guest.ipStack": [
                {
                    "_typeName": "GuestStackInfo",
                    "ipRouteConfig": {
                        "_typeName": "NetIpRouteConfigInfo",
                        "ipRoute": [route("10.1.1.1"), route("10.2.2.1")],
                    },
                }
            ]
        },
    ),
    Odd("mac-a", hits("MK-NET-005"), {"nics": [{"network": MAPPED, "mac": "00:50:56:00:00:99"}]}),
    Odd("mac-b", hits("MK-NET-005"), {"nics": [{"network": MAPPED, "mac": "00:50:56:00:00:99"}]}),
    Odd("e1000", hits("MK-NET-006"), {"nics": [{"network": MAPPED, "type": "e1000"}]}),
    Odd("ipv6", hits("MK-NET-007"), {"nics": [{"network": MAPPED, "ip": "2001:db8::5"}]}),
    Odd(
        "unplugged",
        hits("MK-NET-008"),
        properties=card(
            "VirtualVmxnet3",
            macAddress="00:50:56:02:00:03",
            connectable={"_typeName": "VirtualDeviceConnectInfo", "connected": False, "startConnected": False},
        ),
    ),
    Odd("two-cards", hits("MK-NET-009"), {"nics": [{"network": MAPPED}, {"network": MAPPED}]}),
    # What only the target knows of: a machine there, its networks, offerings and limits.
    Odd(TAKEN["name"], hits(), target="MK-TGT-105"),
    Odd("elsewhere", hits(), {"nics": [{"network": MAPPED, "ip": "192.168.7.7"}]}, target="MK-TGT-106"),
    Odd("same-address", hits(), {"nics": [{"network": MAPPED, "ip": TAKEN["ip"]}]}, target="MK-TGT-107"),
    Odd("same-mac", hits(), {"nics": [{"network": MAPPED, "mac": TAKEN["mac"]}]}, target="MK-TGT-108"),
    Odd("fedora", hits(), {"guest_id": "fedora64Guest"}, target="MK-TGT-104"),
    Odd("huge", hits(), properties={**disk("huge", gib=2048)}, target="MK-TGT-102"),
    Odd("many-cpus", hits(), {"cpus": 4}, target="MK-TGT-103"),
    # Datastores; `place` makes them.
    Odd("on-vsan", hits("MK-STORE-001")),
    Odd("on-vvol", hits("MK-STORE-002")),
    Odd("on-nfs", hits("MK-STORE-003")),
    Odd("on-full", hits("MK-STORE-004")),
    Odd("on-gone", hits("MK-STORE-005")),
)

STORES: dict[str, Json] = {
    "on-vsan": {"summary.type": "vsan"},
    "on-vvol": {"summary.type": "VVOL"},
    "on-nfs": {"summary.type": "NFS41"},
    "on-full": {"summary.freeSpace": GIB // 4},
    "on-gone": {"summary.accessible": False},
}
"""What is odd about the datastore of a machine."""


def inventory() -> Json:
    """Return the simulator's inventory of the estate."""
    machines = []
    for number, odd in enumerate(MACHINES):
        folder, _, name = odd.name.rpartition("/")
        machines.append(
            {
                "name": name,
                "folder": folder or "estate",
                "power": "on",
                "tools": "running",
                "cbt": True,
                "cpus": 1,
                "memory_mb": 512,
                "guest_id": "debian12_64Guest",
                "disks": [{"size_bytes": GIB, "provisioning": "thin"}],
                "nics": [{"network": MAPPED, "mac": f"00:50:56:01:00:{number:02x}", "ip": f"10.1.1.{10 + number}"}],
                **odd.spec,
            }
        )
    return {"portgroups": 1, "vms": machines}


def path_of(odd: Odd) -> str:
    """Return the inventory path of a machine."""
    if odd.name == "in-vapp":
        return "/DC0/vm/estate/in-vapp"
    return f"/DC0/vm/{odd.name}" if "/" in odd.name else f"/DC0/vm/estate/{odd.name}"


def make_odd(vcenter: VCenter, service: Any) -> None:
    """Give each machine its trait."""
    content = service.RetrieveContent()
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    machines = {f"{vm.parent.name}/{vm.name}": vm for vm in view.view}
    view.Destroy()
    by_name = {odd.name: machines[odd.name if "/" in odd.name else f"estate/{odd.name}"] for odd in MACHINES}
    for odd in MACHINES:
        vm = by_name[odd.name]
        if odd.change is not None:
            odd.change(vm)
        if odd.properties:
            vcenter.properties("VirtualMachine", vm._moId, odd.properties)
    _place(vcenter, content, by_name)


def _place(vcenter: VCenter, content: Any, machines: dict[str, Any]) -> None:
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.ClusterComputeResource], True)
    (cluster,) = view.view
    view.Destroy()
    spec = vim.cluster.ConfigSpecEx(
        drsVmConfigSpec=[
            vim.cluster.DrsVmConfigSpec(
                operation="add",
                info=vim.cluster.DrsVmConfigInfo(key=machines["drs-override"], enabled=True, behavior="manual"),
            )
        ],
        dasVmConfigSpec=[
            vim.cluster.DasVmConfigSpec(
                operation="add",
                info=vim.cluster.DasVmConfigInfo(
                    key=machines["ha-override"], dasSettings=vim.cluster.DasVmSettings(restartPriority="high")
                ),
            )
        ],
        groupSpec=[
            vim.cluster.GroupSpec(
                operation="add", info=vim.cluster.VmGroup(name="licensed", vm=[machines["on-certain-hosts"]])
            ),
            vim.cluster.GroupSpec(operation="add", info=vim.cluster.HostGroup(name="hosts", host=[cluster.host[0]])),
        ],
        rulesSpec=[
            vim.cluster.RuleSpec(
                operation="add",
                info=vim.cluster.VmHostRuleInfo(
                    name="licence", enabled=True, mandatory=True, vmGroupName="licensed", affineHostGroupName="hosts"
                ),
            ),
            vim.cluster.RuleSpec(
                operation="add",
                info=vim.cluster.AntiAffinityRuleSpec(
                    name="keep apart", enabled=True, vm=[machines["apart-a"], machines["apart-b"]]
                ),
            ),
        ],
    )
    WaitForTask(cluster.ReconfigureComputeResource_Task(spec, modify=True))
    vapp = cluster.resourcePool.CreateVApp(
        "shop",
        vim.ResourceConfigSpec(
            cpuAllocation=vim.ResourceAllocationInfo(
                reservation=0, limit=-1, expandableReservation=True, shares=vim.SharesInfo(shares=0, level="normal")
            ),
            memoryAllocation=vim.ResourceAllocationInfo(
                reservation=0, limit=-1, expandableReservation=True, shares=vim.SharesInfo(shares=0, level="normal")
            ),
        ),
        vim.vApp.VAppConfigSpec(),
        None,
    )
    member = {"_typeName": "ManagedObjectReference", "type": "VirtualApp", "value": vapp._moId}
    vcenter.properties("VirtualMachine", machines["in-vapp"]._moId, {"parentVApp": member})
    host = cluster.host[0]
    for name, properties in STORES.items():
        folder = vcenter.datastore / name
        folder.mkdir()
        store = host.configManager.datastoreSystem.CreateLocalDatastore(name, str(folder))
        vcenter.properties("Datastore", store._moId, {"summary.type": "VMFS", **properties})
        vcenter.properties("VirtualMachine", machines[name]._moId, on_store(name, store._moId))
