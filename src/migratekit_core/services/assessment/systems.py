"""The guest's operating system: who says what of it, what KVM cannot run, and what has no virtio drivers.

Three say something, and not always the same: the guest itself (guestInfo.detailed.data, written by VMware Tools of 2018
and later), what VMware Tools report as vSphere's id (VirtualMachineGuestOsIdentifier; old ones know no newer release),
and the id that the machine was configured with. The first that says anything counts.

Which OS type of CloudStack's each of them gets is in adapters/cloudstack/guest_os.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from migratekit_core.adapters.cloudstack.guest_os import LINUX, OTHER, WINDOWS, family
from migratekit_core.adapters.vsphere.inventory import VirtualMachine

_UNSUPPORTED = re.compile(
    r"darwin|vmkernel|netware|os2|eComStation|openServer|unixWare|mandrake|sunos|solaris[689](?!\d)|crx(Pod|Sys)", re.I
)
"""macOS (licence), ESXi itself, NetWare, OS/2, SCO, old Solaris, vSphere's own pods: no KVM, or no drivers."""

_BEFORE_VIRTIO = re.compile(
    r"(rhel|centos)[2-4]|(rhel|centos)[2-4]_64|sles(8|9)?(_64)?Guest|suse|debian[45]|redhat|other24x"
)
"""Linux of before kernel 2.6.25 (2008)."""

VIRTIO_KERNEL = (2, 6, 25)
_GENERIC = re.compile(r"other(Linux)?(_?64)?(Guest(64)?)?|linuxGuest|otherGuestFamily|", re.I)
"""Ids that name no release."""
_SAYS = re.compile(r"(\w+)='([^']*)'")
_NUMBERS = re.compile(r"\d+(?:\.\d+)*")
_DISTRIBUTIONS = {
    "Debian": "debian", "CentOS": "centos", "Red Hat": "rhel", "SLES": "sles", "SUSE Linux Enterprise": "sles",
    "Oracle": "oracleLinux", "Rocky": "rockylinux", "AlmaLinux": "almalinux", "Ubuntu": "ubuntu", "Fedora": "fedora",
    "openSUSE": "opensuse", "Amazon": "amazonlinux", "VMware Photon": "vmwarePhoton", "FreeBSD": "freebsd",
}  # fmt: skip
"""How a guest's own name of its distribution begins, and how vSphere's ids of it do."""


@dataclass(frozen=True)
class Said:
    """What one of the three says."""

    by: str
    """the guest, VMware Tools or the setting."""
    text: str
    """What it says, for people."""
    id: str
    """vSphere's id, or one that is made of what the guest says; "" where there is none like it."""
    kernel: tuple[int, ...] = ()
    family: str = ""
    """Linux, Windows, FreeBSD, Darwin …, by the guest itself; else ""."""


def detailed(vm: VirtualMachine) -> dict[str, str]:
    """Return what the guest says of itself: prettyName, distroName, distroVersion, familyName, kernelVersion …"""
    for key, value in vm.extra_config.items():
        if key.lower() in ("guestinfo.detailed.data", "guestos.detailed.data") and (found := _SAYS.findall(value)):
            return dict(found)
    return {}


def said(vm: VirtualMachine) -> Iterator[Said]:
    """Yield what is said of a machine's guest, the most believable first; ids that name no release are left out."""
    own = detailed(vm)
    name = own.get("distroName") or own.get("prettyName", "")
    if name or own.get("familyName"):
        stem = next((stem for begin, stem in _DISTRIBUTIONS.items() if name.startswith(begin)), "")
        major = (_numbers(own.get("distroVersion", "")) or _numbers(own.get("prettyName", "")) or ("",))[0]
        own_id = f"{stem}{major}{'_64' if own.get('bitness') == '64' else ''}Guest" if stem else ""
        text = own.get("prettyName") or f"{name} {own.get('distroVersion', '')}".strip() or own["familyName"]
        yield Said("the guest", text, own_id, _numbers(own.get("kernelVersion", "")), own.get("familyName", ""))
    if not _GENERIC.fullmatch(vm.guest_reported_id):
        text = f"{vm.guest_reported_name or vm.guest_name or vm.guest_reported_id} ({vm.guest_reported_id})"
        yield Said("VMware Tools", text, vm.guest_reported_id)
    if vm.guest_id:
        yield Said("the setting", f"{vm.guest_name or vm.guest_id} ({vm.guest_id})", vm.guest_id)


def unsupported(vm: VirtualMachine) -> Said | None:
    """Return what says that a guest is a system that cannot run on KVM, or None."""
    for each in said(vm):
        if each.family in ("Linux", "Windows", "FreeBSD"):
            return None
        if each.family == "Darwin":
            return each
        if each.id:
            return each if _UNSUPPORTED.match(each.id) else None
    return None


def before_virtio(vm: VirtualMachine) -> Said | None:
    """Return what says that a guest is a Linux without virtio drivers, or None."""
    for each in said(vm):
        if each.family not in ("", "Linux") or (each.kernel and each.kernel >= VIRTIO_KERNEL):
            return None
        if each.id:
            return each if _BEFORE_VIRTIO.match(each.id) else None
        if each.kernel:
            return each
    return None


def disagreement(vm: VirtualMachine) -> tuple[Said, ...]:
    """Return what is said of a guest where two disagree on the system or its release; else nothing."""
    found = tuple(said(vm))
    return found if any(_differ(one, other) for one, other in combinations(found, 2)) else ()


def _differ(one: Said, other: Said) -> bool:
    if not one.kernel and not one.family:
        return one.id != other.id  # two ids of vSphere's
    mine, theirs = family(one.id), family(other.id)
    if mine is None or theirs is None or {mine.name, theirs.name} & {LINUX, WINDOWS, OTHER}:
        return False
    versions = mine.version[:1], theirs.version[:1]
    return mine.name != theirs.name or (all(versions) and versions[0] != versions[1])


def _numbers(text: str) -> tuple[int, ...]:
    found = _NUMBERS.search(text)
    return tuple(map(int, found[0].split("."))) if found else ()
