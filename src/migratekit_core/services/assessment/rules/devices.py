"""Devices that a snapshot cannot freeze, or that the target does not have."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.vsphere.inventory import Device, VirtualMachine
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site

VGPU = "VirtualPCIPassthroughVmiop"


def _of_type(vm: VirtualMachine, *types: str) -> Iterator[Device]:
    return (device for device in vm.devices if device.type in types)


@machine_rule(
    "MK-DEV-001",
    Severity.BLOCKER,
    "PCI passthrough",
    why="vSphere takes no snapshot of a running machine with a passed-through device, and the target has no "
    "such device.",
    remedy="Remove the device (the guest must do without it), or move the machine powered off and by hand.",
)
def pci(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report DirectPath I/O, fixed or dynamic."""
    for device in _of_type(vm, "VirtualPCIPassthrough"):
        if not device.backing.startswith(VGPU):
            yield Hit(f"passes {device.backing_name or 'a device of its host'} through", device.label)


@machine_rule(
    "MK-DEV-002",
    Severity.BLOCKER,
    "SR-IOV network card",
    why="vSphere supports no snapshots of machines with SR-IOV.",
    remedy="Replace the card by a vmxnet3 card in the same network before the migration.",
)
def sriov(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report virtual functions of a physical card."""
    for nic in vm.nics:
        if "sriov" in nic.type:
            yield Hit(f"its type is {nic.type}", nic.label)


@machine_rule(
    "MK-DEV-003",
    Severity.WARNING,
    "vGPU",
    why="The new machine has no GPU: what needs one fails there.",
    remedy="Have a service offering with a GPU on the target, or remove the vGPU first.",
)
def vgpu(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report shared GPUs."""
    for device in _of_type(vm, "VirtualPCIPassthrough"):
        if device.backing.startswith(VGPU):
            yield Hit(f"profile {device.backing_name or 'unknown'}", device.label)


@machine_rule(
    "MK-DEV-004",
    Severity.WARNING,
    "USB device",
    why="A device of the host or of a client's desk does not come along (licence dongles!).",
    remedy="Use a network USB server, or a licence without a dongle; then remove the device.",
)
def usb(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report USB devices; a controller alone is harmless."""
    for device in _of_type(vm, "VirtualUSB"):
        yield Hit(device.backing_name or "connected", device.label)


@machine_rule(
    "MK-DEV-005",
    Severity.WARNING,
    "serial port",
    why="What it leads to (a host's port, a pipe, the network) does not exist on the target.",
    remedy="Remove it, or find another way for what uses it. The guest's console on ttyS0 keeps working.",
)
def serial(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report serial ports."""
    for device in _of_type(vm, "VirtualSerialPort"):
        yield Hit(device.backing or "no backing", device.label)


@machine_rule(
    "MK-DEV-006",
    Severity.WARNING,
    "parallel port",
    why="The target has no parallel ports.",
    remedy="Remove it, or find another way for what uses it.",
)
def parallel(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report parallel ports."""
    for device in _of_type(vm, "VirtualParallelPort"):
        yield Hit(device.backing or "no backing", device.label)


@machine_rule(
    "MK-DEV-007",
    Severity.INFO,
    "floppy drive",
    why="The target has none; an image in it does not come along.",
    remedy="Remove it; copy what is needed off the image.",
)
def floppy(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report floppy drives."""
    for device in _of_type(vm, "VirtualFloppy"):
        yield Hit(device.backing_name or "empty", device.label)


@machine_rule(
    "MK-DEV-008",
    Severity.WARNING,
    "CD-ROM is connected",
    why="The image or disc does not come along; a guest that mounts it at boot waits or stops there.",
    remedy="Disconnect it. An image that is needed can be registered as an ISO in CloudStack.",
)
def cdrom(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report CD-ROMs with something in them."""
    for device in _of_type(vm, "VirtualCdrom"):
        if device.connected or (device.start_connected and device.backing == "VirtualCdromIso"):
            yield Hit(device.backing_name or device.backing or "connected", device.label)


@machine_rule(
    "MK-DEV-009",
    Severity.WARNING,
    "virtual TPM",
    why="What is sealed in the TPM (BitLocker keys, machine identities) does not come along.",
    remedy="Have the recovery keys at hand and suspend BitLocker before the failover; remove the vTPM.",
)
def vtpm(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report virtual TPMs."""
    if vm.vtpm:
        yield Hit("the machine has a virtual TPM")


@machine_rule(
    "MK-DEV-010",
    Severity.WARNING,
    "encrypted configuration",
    why="The machine's own files (settings, NVRAM, vTPM) are encrypted by vSphere and stay behind; disks say for "
    "themselves whether they are (MK-DISK-008).",
    remedy="Nothing has to be done for the disks; note boot entries and keys that live in the NVRAM.",
)
def encrypted(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines with an encrypted configuration."""
    if vm.encrypted:
        yield Hit("its configuration is encrypted by vSphere")


@machine_rule(
    "MK-DEV-011",
    Severity.WARNING,
    "secure boot",
    why="The new machine is started with UEFI but without secure boot.",
    remedy="Nothing has to be done for it to boot; switch secure boot on in CloudStack (boot mode Secure) afterwards.",
)
def secure_boot(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report secure boot."""
    if vm.secure_boot:
        yield Hit("secure boot is on")


@machine_rule(
    "MK-DEV-012",
    Severity.INFO,
    "UEFI firmware",
    why="The target's hosts must be set up for UEFI guests. Boot entries in the NVRAM do not come along: the "
    "guest boots "
    "from the fallback path EFI/BOOT/BOOTX64.EFI.",
    remedy="See that the fallback loader exists (Linux: grub-install --removable; Windows has it).",
)
def uefi(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report UEFI machines."""
    if vm.firmware == "efi":
        yield Hit("its firmware is UEFI")


@machine_rule(
    "MK-DEV-013",
    Severity.BLOCKER,
    "persistent memory (NVDIMM)",
    why="It is no disk: no snapshot and no copy of the disks has its content.",
    remedy="Move the data to a disk and remove the NVDIMM.",
)
def nvdimm(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report NVDIMMs."""
    for device in _of_type(vm, "VirtualNVDIMM"):
        yield Hit(device.backing_name or "persistent memory", device.label)
