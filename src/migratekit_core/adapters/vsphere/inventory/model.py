"""What is known of a virtual machine: plain facts, as vSphere has them, without its SDK.

Sizes are bytes unless a name says otherwise (`_mib`, `_mhz`). A text that vSphere does not give is "", a number 0 and
a truth value False, except where None is said to mean something. The JSON of `discover` is made of these fields
(docs/json.md): they may be added to, not renamed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from migratekit_core.common.vsphere_names import shown


@dataclass(frozen=True)
class Disk:
    """A virtual disk. `key` is vSphere's device key, sizes are bytes."""

    key: int
    label: str
    unit_number: int
    controller: str
    """Type of its controller, such as ParaVirtualSCSIController, VirtualNVMEController, VirtualIDEController."""
    capacity_bytes: int
    path: str
    """Datastore path of the file that is written now: `[datastore] folder/disk.vmdk`."""
    datastore: str
    """Its name as the API has it, in the path: `shown` makes that the name of a Datastore."""
    provisioning: str
    """thin, thick (lazy zeroed) or eager (zeroed)."""
    mode: str
    """persistent, independent_persistent, independent_nonpersistent …"""
    change_id: str | None
    """Of a snapshot's disk; a live disk may have none though it is tracked."""
    backing: str
    """Type of the backing, such as FlatVer2, SeSparse or RawDiskMappingVer1."""
    has_parent: bool
    """Whether the file is a delta on top of another (a snapshot or a linked clone)."""
    controller_key: int = 0
    datastore_moref: str = ""
    """Managed object id of its datastore, which is one of the machine's `datastores`; "" where vSphere names none."""
    sharing: str = ""
    """sharingNone, or sharingMultiWriter where several machines may write."""
    parent_path: str = ""
    """Datastore path of the file right below; "" without a parent."""
    base_path: str = ""
    """Datastore path of the file at the bottom of the chain; the same as `path` without a parent."""
    rdm_mode: str = ""
    """physicalMode or virtualMode of a raw device mapping, "" for everything else."""
    encrypted: bool = False
    uuid: str = ""
    """Of the backing: what the guest sees with disk.EnableUUID."""
    write_through: bool = False


@dataclass(frozen=True)
class Controller:
    """A controller of disks or other devices."""

    key: int
    type: str
    """vSphere's type: ParaVirtualSCSIController, VirtualLsiLogicController, VirtualAHCIController …"""
    label: str
    bus_number: int
    bus_sharing: str = ""
    """noSharing, virtualSharing or physicalSharing of a SCSI (and, since vSphere 8, NVMe) controller, else ""."""


@dataclass(frozen=True)
class Device:
    """Any device that is neither disk, network card nor controller."""

    key: int
    type: str
    """vSphere's type: VirtualCdrom, VirtualFloppy, VirtualSerialPort, VirtualParallelPort, VirtualUSB,
    VirtualPCIPassthrough (also vGPU, see `backing`), VirtualTPM, VirtualSoundCard, VirtualMachineVideoCard …"""
    label: str
    controller_key: int = 0
    unit_number: int = 0
    backing: str = ""
    """vSphere's type of the backing, without BackingInfo: VirtualCdromIso, VirtualCdromRemotePassthrough,
    VirtualPCIPassthroughVmiop (vGPU), VirtualPCIPassthroughDynamic …; "" without one."""
    backing_name: str = ""
    """The file, the host's device, or the vGPU's profile."""
    connected: bool = False
    start_connected: bool = False


@dataclass(frozen=True)
class GuestAddress:
    """An address that the guest has, by VMware Tools."""

    address: str
    prefix_length: int
    origin: str = ""
    """dhcp, manual, linklayer, random or other; "" where the guest does not say."""


@dataclass(frozen=True)
class Nic:
    """A network card. Where `network` is empty, `unresolved` says why."""

    key: int
    label: str
    type: str
    """vmxnet3, e1000, e1000e, vmxnet2, pcnet32, sriovethernetcard, vmxnet3vrdma …"""
    mac: str
    network: str
    network_kind: str
    """standard, distributed or opaque (NSX)."""
    connected: bool
    ip_addresses: tuple[str, ...]
    unresolved: str = ""
    network_moref: str = ""
    """Managed object id of the network; "" where it is not visible (any more)."""
    mac_type: str = ""
    """manual, generated (by ESXi) or assigned (by vCenter)."""
    start_connected: bool = False
    addresses: tuple[GuestAddress, ...] = ()
    """As `ip_addresses`, with prefix and origin."""
    dhcp: bool | None = None
    """Whether the guest asks DHCP for IPv4 addresses; None where it does not say."""
    network_path: str = ""
    """Inventory path of the network, which tells networks of one name apart; "" where it is not visible (any more)."""
    network_key: str = ""
    """What the card itself calls it: a managed object id, a portgroup key, an id of NSX."""
    network_record: str = ""
    """The name in the machine's own record, or in that of VMware Tools: the network may be called otherwise now."""
    network_state: str = ""
    """present, renamed (the machine's record has another name), or deleted: gone, or not visible to this account; then
    `network` is the name of the machine's own record."""


@dataclass(frozen=True)
class GuestVolume:
    """A file system of the guest, by VMware Tools."""

    path: str
    """`C:\\`, `/var` …"""
    capacity_bytes: int
    free_bytes: int
    filesystem: str = ""
    """NTFS, ext4 …; "" where the tools do not say (before vSphere 7)."""
    disk_keys: tuple[int, ...] = ()
    """Device keys of the virtual disks that it lies on; empty where the tools do not say."""


@dataclass(frozen=True)
class Snapshot:
    """A snapshot, somewhere in the machine's tree."""

    moref: str
    name: str
    description: str
    created: str
    """When, ISO 8601, UTC."""
    parent: str | None
    """Managed object id of the snapshot below which it stands; None at a root."""
    current: bool
    """Whether the machine goes on from this one."""
    quiesced: bool = False


@dataclass(frozen=True)
class Datastore:
    """A datastore; free space is as vSphere knew it last."""

    moref: str
    name: str
    type: str
    """VMFS, NFS, NFS41, vsan, VVOL …"""
    capacity_bytes: int
    free_bytes: int
    accessible: bool
    shared: bool
    """Whether several hosts have it."""


@dataclass(frozen=True)
class VirtualMachine:
    """A virtual machine or template of the source."""

    moref: str
    uuid: str
    """instanceUuid: vCenter's own, unique name of the machine. "" where vSphere cannot read the machine's files."""
    name: str
    """As the vSphere Client shows it: `/`, `%` and `\\` are themselves."""
    path: str
    """Inventory path: /datacenter/vm/folder/name, of names as the API has them (%2f, %25, %5c)."""
    datacenter: str
    """Its name, with the folders that it is in: what the datastore browser calls `dcPath`."""
    power: str
    """poweredOn, poweredOff, suspended."""
    connection: str
    """connected, disconnected, orphaned, inaccessible or invalid."""
    template: bool
    cpus: int
    memory_mib: int
    firmware: str
    """bios or efi."""
    guest_id: str
    guest_name: str
    hardware_version: str
    """vmx-19 …"""
    tools: str
    """guestToolsRunning, guestToolsNotRunning, guestToolsExecutingScripts."""
    cbt_enabled: bool
    has_snapshots: bool
    host: str | None
    """Managed object id of its ESXi host."""
    disks: tuple[Disk, ...]
    nics: tuple[Nic, ...]

    # Where it is.
    folder: str = ""
    """Inventory path of its folder (of its vApp, where it is in one)."""
    host_name: str = ""
    cluster: str = ""
    """Name of its cluster; "" on a host that stands alone."""
    resource_pool: str = ""
    """Path below the cluster: `Resources/gold`; "" for a template."""
    vapp: str = ""
    """Name of the vApp that it is in, or ""."""
    vmx_path: str = ""
    """Datastore path of its configuration file."""
    datastores: tuple[Datastore, ...] = ()
    """Those that its disks and its configuration are on."""
    bios_uuid: str = ""
    managed_by: str = ""
    """Key of the extension that the machine belongs to, such as com.vmware.vim.eam (vCLS); "" for an ordinary one."""
    tags: tuple[str, ...] | None = None
    """`category:name` of vSphere's tags; None where they were not read."""

    # What it is made of.
    controllers: tuple[Controller, ...] = ()
    devices: tuple[Device, ...] = ()
    """All devices that are neither disk, network card nor controller."""
    secure_boot: bool = False
    vtpm: bool = False
    encrypted: bool = False
    """Whether its configuration is encrypted. Disks say so themselves."""
    cores_per_socket: int = 0
    cpu_hot_add: bool = False
    cpu_hot_remove: bool = False
    memory_hot_add: bool = False

    # What is promised to it, and where it may run.
    cpu_reservation_mhz: int = 0
    memory_reservation_mib: int = 0
    memory_reservation_locked: bool = False
    cpu_limit_mhz: int | None = None
    """None: no limit."""
    memory_limit_mib: int | None = None
    cpu_affinity: tuple[int, ...] = ()
    """CPUs of the host that it is pinned to."""
    memory_affinity: tuple[int, ...] = ()
    """NUMA nodes of the host that it is pinned to."""
    latency_sensitivity: str = ""
    """low, normal, medium or high."""
    fault_tolerance: str = ""
    """notConfigured, disabled, enabled, needSecondary, starting or running; "" where vSphere does not say."""
    drs_override: str = ""
    """The cluster's own setting for this machine: manual, partiallyAutomated, fullyAutomated or disabled; "": none."""
    ha_override: str = ""
    """The cluster's own restart priority for this machine (disabled, low, medium, high …); "": none."""
    drs_rules: tuple[str, ...] = ()
    """Names of the cluster's rules that name this machine."""

    # Snapshots and change tracking.
    snapshots: tuple[Snapshot, ...] = ()
    """All of its tree, parents before children."""
    consolidation_needed: bool = False
    cbt_supported: bool = True

    # What VMware Tools say.
    tools_status: str = ""
    """toolsVersionStatus2: guestToolsCurrent, guestToolsNotInstalled, guestToolsNeedUpgrade, guestToolsUnmanaged …"""
    tools_version: str = ""
    guest_family: str = ""
    """linuxGuest, windowsGuest …"""
    guest_hostname: str = ""
    guest_reported_id: str = ""
    """guest_id as the tools see the running system; it may differ from what was configured."""
    guest_reported_name: str = ""
    gateways: tuple[str, ...] = ()
    """Default gateways, IPv4 and IPv6."""
    dns_servers: tuple[str, ...] = ()
    guest_volumes: tuple[GuestVolume, ...] = ()

    # The rest.
    committed_bytes: int = 0
    """What it occupies on its datastores, with snapshots and swap."""
    uncommitted_bytes: int = 0
    """What its thin disks may yet take."""
    extra_config: dict[str, str] = field(default_factory=dict)
    """The advanced settings that matter to a migration; which ones: docs/json.md."""

    @property
    def readable(self) -> bool:
        """Return whether vSphere can read the machine's configuration; else little but its name is known."""
        return bool(self.hardware_version)

    def datastore_of(self, disk: Disk) -> Datastore | None:
        """Return the datastore of one of its disks, or None where it is not visible.

        A snapshot's disks may lack the datastore's id; its name is unique among a machine's own.
        """
        for store in self.datastores:
            if store.moref == disk.datastore_moref or (
                not disk.datastore_moref and store.name == shown(disk.datastore)
            ):
                return store
        return None

    @property
    def tracks(self) -> bool:
        """Return whether change tracking is on, by the flag or by the advanced setting `ctkEnabled`: either may come
        late."""
        return self.cbt_enabled or tracking_set(self.extra_config)

    @property
    def deltas_apart(self) -> bool:
        """Return whether the deltas of snapshots go to the machine's `workingDir` instead of beside each disk."""
        return apart(self.extra_config)

    @property
    def excluded_disks(self) -> dict[str, str]:
        """Return the disks that an advanced setting excludes from change tracking: label, and the setting's name."""
        return excluded_disks(self.disks, self.controllers, self.extra_config)


REDO_APART = "snapshot.redonotwithparent"
"""The advanced setting, in lower case, by which deltas go to the machine's `workingDir`."""
_BUSES = {"NVME": "nvme", "AHCI": "sata", "IDE": "ide"}
"""What a controller's type holds, and how advanced settings call its bus; all others are `scsi`."""


def apart(extra_config: Mapping[str, str]) -> bool:
    """Return whether the deltas of snapshots go to the machine's `workingDir` instead of beside each disk."""
    return any(key.lower() == REDO_APART and value.lower() in ("true", "1") for key, value in extra_config.items())


def tracking_set(extra_config: Mapping[str, str]) -> bool:
    """Return whether the machine's own `ctkEnabled` says that changes are tracked."""
    return any(key.lower() == "ctkenabled" and value.lower() in ("true", "1") for key, value in extra_config.items())


def excluded_disks(
    disks: Iterable[Disk], controllers: Iterable[Controller], extra_config: Mapping[str, str]
) -> dict[str, str]:
    """Return the disks with `scsiX:Y.ctkEnabled = FALSE`: label, and the setting's name.

    Settings stay when a disk is removed, so only those of disks that are there count.
    """
    said = {key.lower(): (key, value.lower()) for key, value in extra_config.items()}
    by_key = {controller.key: controller for controller in controllers}
    found = {}
    for disk in disks:
        controller = by_key.get(disk.controller_key)
        if controller is None:
            continue
        bus = next((name for part, name in _BUSES.items() if part in controller.type), "scsi")
        key, value = said.get(f"{bus}{controller.bus_number}:{disk.unit_number}.ctkenabled", ("", ""))
        if value in ("false", "0"):
            found[disk.label] = key
    return found
