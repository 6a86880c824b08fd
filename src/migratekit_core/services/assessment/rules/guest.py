"""The guest's operating system: whether it runs on KVM, and what it needs for that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from migratekit_core.adapters.cloudstack import guest_os
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.services.assessment import systems
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site


def is_windows(vm: VirtualMachine) -> bool:
    """Return whether the guest is Windows, by the tools or by what was configured."""
    return vm.guest_family == "windowsGuest" or (vm.guest_reported_id or vm.guest_id).startswith("win")


def _name(vm: VirtualMachine) -> str:
    return vm.guest_reported_name or vm.guest_name or vm.guest_id or "unknown"


def _told(found: Iterable[systems.Said]) -> str:
    return "; ".join(f"{each.by}: {each.text}" for each in found)


def _but(vm: VirtualMachine, believed: systems.Said) -> str:
    """Return what others say, where they disagree."""
    others = _told(each for each in systems.disagreement(vm) if each != believed)
    return f", by {believed.by} ({others})" if others else ""


@machine_rule(
    "MK-GUEST-001",
    Severity.BLOCKER,
    "guest that KVM does not run",
    why="The system has no drivers for KVM's devices, or may not run elsewhere by its licence.",
    remedy="Leave it on vSphere, or move what it does to another system.",
)
def unsupported(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report systems that only VMware (or Apple) runs."""
    if found := systems.unsupported(vm):
        yield Hit(f"its guest is {found.text}{_but(vm, found)}")


@machine_rule(
    "MK-GUEST-002",
    Severity.INFO,
    "guest without a like in CloudStack",
    why="The system has no entry in CloudStack's list of OS types that we know; it is deployed as Other, which sets "
    "fewer devices to suit it.",
    remedy="Set the OS type by hand after the failover where the guest needs it.",
)
def unmapped(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report guest ids that no OS type is known for."""
    if guest_os.family(vm.guest_id) is None and not systems.unsupported(vm):
        yield Hit(f"{vm.guest_id or 'no guest id'}, {_name(vm)}")


@machine_rule(
    "MK-GUEST-003",
    Severity.WARNING,
    "Windows needs virtio drivers",
    why="Without viostor and NetKVM, Windows stops with INACCESSIBLE_BOOT_DEVICE on the target, or has no "
    "network. vSphere "
    "does not tell whether they are there.",
    remedy="Install the virtio-win drivers beforehand, or convert the guest at failover; try it with test-failover.",
)
def windows(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report Windows guests."""
    if is_windows(vm):
        yield Hit(f"its guest is {_name(vm)}")


@machine_rule(
    "MK-GUEST-004",
    Severity.WARNING,
    "Linux that is older than virtio",
    why="Kernels before 2.6.25 have no virtio drivers, and old file systems and init systems defeat conversion tools.",
    remedy="Upgrade the guest first, or have its disks attached as IDE on the target.",
)
def old_linux(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report old Linux guests."""
    if found := systems.before_virtio(vm):
        yield Hit(f"its guest is {found.text}{_but(vm, found)}")


@machine_rule(
    "MK-GUEST-005",
    Severity.WARNING,
    "volume across several disks",
    why="A dynamic disk, storage space, LVM or RAID volume needs all of its disks at once. They come along "
    "together, but "
    "Windows brings foreign dynamic disks up offline.",
    remedy="Move all disks in one failover (MigrateKit does); in Windows set the SAN policy to OnlineAll beforehand.",
)
def spanned(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report volumes that the tools see on more than one disk."""
    for volume in vm.guest_volumes:
        if len(volume.disk_keys) > 1:
            yield Hit(f"it lies on {len(volume.disk_keys)} disks", volume.path)


@machine_rule(
    "MK-GUEST-006",
    Severity.WARNING,
    "hints of BitLocker",
    why="On other (virtual) hardware BitLocker asks for the recovery key at boot, and conversion cannot read the disk.",
    remedy="Suspend BitLocker before the failover (manage-bde -protectors -disable C: -rebootcount 0), keep "
    "the key ready.",
)
def bitlocker(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report Windows with a vTPM, or with a volume that the tools cannot read."""
    if not is_windows(vm):
        return
    if vm.vtpm:
        yield Hit("Windows with a virtual TPM")
    for volume in vm.guest_volumes:
        if "bitlocker" in volume.filesystem.lower() or (volume.capacity_bytes == 0 and volume.filesystem == ""):
            yield Hit("the guest cannot tell its size or file system, as with a locked volume", volume.path)


@machine_rule(
    "MK-GUEST-007",
    Severity.INFO,
    "guest is another system than configured",
    why="Of the guest itself, VMware Tools and the setting, two name another system or release. The guest is believed "
    "first, then VMware Tools (old ones know no newer release); what others derive from the setting is wrong.",
    remedy="Correct the guest OS in the machine's settings, or the OS type in CloudStack after the failover.",
)
def other_guest(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report guests of which two say another system, or another release."""
    if told := _told(systems.disagreement(vm)):
        yield Hit(told)


_PROVISIONED = (
    "guestinfo.userdata",
    "guestinfo.vendordata",
    "guestinfo.metadata",
    "guestinfo.ignition.config.data",
    "guestinfo.coreos.config.data",
)


@machine_rule(
    "MK-GUEST-008",
    Severity.WARNING,
    "guest is set up by guestinfo",
    why="cloud-init and ignition read their settings from advanced settings of vSphere, which the target does not have."
    " cloud-init that finds other data, or another instance id, may run as on a first boot: new host keys, another "
    "host name, another network configuration.",
    remedy="Once set up, keep the guest from it: touch /etc/cloud/cloud-init.disabled, or pin the datasource; try it "
    "with test-failover.",
)
def provisioned(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report guests whose user data or metadata is in the advanced settings."""
    keys = sorted(key for key in vm.extra_config if key.lower().startswith(_PROVISIONED))
    if keys:
        yield Hit(f"its settings are in {', '.join(keys)}")
