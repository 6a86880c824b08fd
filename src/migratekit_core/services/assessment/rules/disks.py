"""Disks: whether a snapshot can freeze them, and whether their file can be read."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.readers.layout import FLAT, RAW_DEVICE, Layout
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.units import GIB, human_bytes, round_up
from migratekit_core.services.assessment.rule import OTHER_READERS, Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site, file_of


@machine_rule(
    "MK-DISK-001",
    Severity.BLOCKER,
    "no disk",
    why="There is nothing to replicate, and CloudStack starts no machine without a root disk.",
    remedy="Leave the machine out, or find its disks (a diskless cluster node or an appliance that boots from "
    "the network).",
)
def no_disk(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report a machine without disks."""
    if not vm.disks:
        yield Hit("the machine has no disk")


@machine_rule(
    "MK-DISK-002",
    Severity.BLOCKER,
    "independent disk",
    why="Snapshots leave independent disks out, so there is never a frozen state to copy, and no change tracking.",
    remedy="Power the machine off and set the disk's mode to Dependent; a nonpersistent disk loses its changes then.",
)
def independent(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks that snapshots leave out."""
    for disk in vm.disks:
        if "independent" in disk.mode:
            yield Hit(f"its mode is {disk.mode}", disk.label)


@machine_rule(
    "MK-DISK-003",
    Severity.BLOCKER,
    "raw device mapping in physical mode",
    why="The guest talks to the LUN itself: vSphere can neither snapshot it nor track its changes.",
    remedy="Copy it inside the guest, or power off, remap the LUN in virtual mode and convert it by storage vMotion.",
)
def physical_rdm(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report physical RDMs."""
    for disk in vm.disks:
        if disk.backing.startswith(RAW_DEVICE) and disk.rdm_mode == "physicalMode":
            yield Hit("it maps a LUN in physical compatibility mode", disk.label)


@machine_rule(
    "MK-DISK-004",
    Severity.BLOCKER,
    "raw device mapping in virtual mode",
    why="The datastore holds a pointer to the LUN, no flat file that a reader of files could fetch.",
    remedy=f"Convert it to a VMDK by storage vMotion with a change of format (cold or live); {OTHER_READERS}",
)
def virtual_rdm(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report virtual RDMs where files are read."""
    for disk in vm.disks:
        if disk.backing.startswith(RAW_DEVICE) and disk.rdm_mode != "physicalMode" and Layout.RAW_DEVICE in site.unread:
            yield Hit(f"it maps a LUN, which {site.named_readers} cannot read", disk.label)


@machine_rule(
    "MK-DISK-005",
    Severity.BLOCKER,
    "multi-writer disk",
    why="vSphere refuses snapshots of a disk that several machines may write to, and no copy of it would be "
    "consistent.",
    remedy="Move such a cluster with its own means (a new node, or a restore), or end the sharing first.",
)
def multi_writer(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks in multi-writer mode."""
    for disk in vm.disks:
        if disk.sharing == "sharingMultiWriter":
            yield Hit("its sharing is multi-writer", disk.label)


@machine_rule(
    "MK-DISK-006",
    Severity.BLOCKER,
    "disk file in use by several machines",
    why="Each replica would be a copy of its own, and writes of the other machine are not in this one's change "
    "tracking.",
    remedy="Move the cluster with its own means, or detach the disk from all machines but one.",
)
def shared_file(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report files that several machines have attached."""
    for disk in vm.disks:
        users = site.by_disk_file.get(file_of(vm, disk), ())
        others = sorted({other.path for other in users if other.moref != vm.moref})
        if others:
            yield Hit(f"{disk.path} is also attached to {', '.join(others)}", disk.label)


@machine_rule(
    "MK-DISK-007",
    Severity.BLOCKER,
    "SCSI or NVMe bus sharing",
    why="vSphere takes no snapshot of a running machine with a shared bus.",
    remedy="Move the cluster with its own means, or power off and set the controller's bus sharing to None.",
)
def bus_sharing(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report controllers with bus sharing."""
    for controller in vm.controllers:
        if controller.bus_sharing not in ("", "noSharing"):
            yield Hit(f"its bus sharing is {controller.bus_sharing}", controller.label)


@machine_rule(
    "MK-DISK-008",
    Severity.BLOCKER,
    "encrypted disk",
    why="The file on the datastore is ciphertext; a copy of it is of no use without vSphere's keys.",
    remedy="Decrypt the disk first (storage policy: Datastore Default); or read it through VDDK (source.vddk), with "
    "the privilege Cryptographic operations > Direct Access.",
)
def encrypted_disk(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report encrypted disks where files are read."""
    for disk in vm.disks:
        if disk.encrypted and Layout.ENCRYPTED in site.unread:
            yield Hit("it is encrypted by vSphere", disk.label)


@machine_rule(
    "MK-DISK-009",
    Severity.BLOCKER,
    "disk that is not a flat file",
    why="Only a flat VMDK is the disk, byte for byte; other formats (SE sparse, hosted sparse, PMem) scatter "
    "its content.",
    remedy=f"Storage vMotion to a VMFS or NFS datastore makes it flat; {OTHER_READERS}",
)
def not_flat(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report formats that readers of files cannot read."""
    for disk in vm.disks:
        # A delta (SE sparse since VMFS 6) is a snapshot's or a linked clone's: those have rules of their own.
        other = not disk.backing.startswith((FLAT, RAW_DEVICE)) and not disk.has_parent
        if other and Layout.SPARSE in site.unread:
            yield Hit(f"its backing is {disk.backing or 'none'}", disk.label)


@machine_rule(
    "MK-DISK-010",
    Severity.BLOCKER,
    "linked clone",
    why="Its content is spread over its own delta and files of its parent; the flat file alone is not the disk.",
    remedy=f"Make it a full machine: clone it in full, or consolidate it by storage vMotion; {OTHER_READERS}",
)
def linked_clone(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report deltas that no snapshot explains."""
    for disk in vm.disks:
        if disk.has_parent and not vm.has_snapshots and Layout.CHAIN in site.unread:
            yield Hit(f"it is a delta on {disk.base_path or disk.parent_path or 'another file'}", disk.label)


@machine_rule(
    "MK-DISK-011",
    Severity.INFO,
    "size is no whole number of GiB",
    why="CloudStack's volumes are whole GiB, so the new disk is a little longer than the old one. Content and "
    "partitions "
    "stay; the backup GPT is then not at the end, which some tools point out.",
    remedy="Nothing has to be done. To put the backup GPT right: sgdisk -e, or let the partitioning tool fix it.",
)
def odd_size(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report sizes that CloudStack rounds up."""
    for disk in vm.disks:
        if disk.capacity_bytes % GIB:
            grown = round_up(disk.capacity_bytes, GIB)
            yield Hit(
                f"{disk.capacity_bytes} bytes become {human_bytes(grown)}, {grown - disk.capacity_bytes} bytes more",
                disk.label,
            )


@machine_rule(
    "MK-DISK-012",
    Severity.INFO,
    "thick disk",
    why="What was never written counts as allocated on eager zeroed disks: the first sync reads the whole disk, though "
    "zeros do not cross the tunnel.",
    remedy="Nothing has to be done; plan the first sync by the disk's capacity.",
)
def thick(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report thick disks."""
    for disk in vm.disks:
        if disk.backing.startswith(FLAT) and disk.provisioning in ("thick", "eager"):
            yield Hit(f"{human_bytes(disk.capacity_bytes)}, {_KINDS[disk.provisioning]}", disk.label)


_KINDS = {"thick": "thick, lazily zeroed", "eager": "thick, eagerly zeroed"}


@machine_rule(
    "MK-DISK-013",
    Severity.INFO,
    "thin disk",
    why="Only what the guest has written is read and moved; but the replica can grow to the full capacity.",
    remedy="Nothing has to be done; see that the target's primary storage holds the capacity, or is thin itself.",
)
def thin(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report thin disks."""
    for disk in vm.disks:
        if disk.backing.startswith(FLAT) and disk.provisioning == "thin":
            yield Hit(f"{human_bytes(disk.capacity_bytes)} at most", disk.label)


_CONTROLLERS = {
    "VirtualNVMEController": "NVMe",
    "VirtualIDEController": "IDE",
    "VirtualAHCIController": "SATA",
    "VirtualSATAController": "SATA",
    "VirtualBusLogicController": "BusLogic",
}


@machine_rule(
    "MK-DISK-014",
    Severity.WARNING,
    "disk on an NVMe, IDE, SATA or BusLogic controller",
    why="On the target the disk is a virtio one: it has another name in the guest (nvme0n1 or sda becomes "
    "vda), and the "
    "initramfs of a guest that never saw SCSI or virtio may lack the driver.",
    remedy="Mount by UUID or label, and have virtio_blk and virtio_scsi in the initramfs (Windows: viostor); "
    "or convert "
    "the guest at failover.",
)
def unusual_controller(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks whose controller has no like on the target."""
    for disk in vm.disks:
        if disk.controller in _CONTROLLERS:
            yield Hit(f"it is on an {_CONTROLLERS[disk.controller]} controller", disk.label)
