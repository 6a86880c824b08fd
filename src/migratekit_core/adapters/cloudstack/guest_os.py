"""Which of CloudStack's OS types a guest is: from vSphere's id (VirtualMachineGuestOsIdentifier) to listOsTypes.

The OS type decides which devices KVM emulates where nothing else is said, so a wrong one may keep a guest from booting.
The table gives family and version by vSphere's id; of the cloud's own list (it differs from version to version, and
administrators add to it) the one is taken that comes nearest, and it is said where that is not the very one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from migratekit_core.adapters.vsphere.inventory import VirtualMachine

Row = Mapping[str, Any]
LINUX, WINDOWS, OTHER = "Other Linux", "Windows", "Other"
"""Kinds: what a guest is where its family is not in the cloud's list."""

_TABLE: tuple[tuple[str, str, str, str], ...] = (
    (r"debian(\d+)", "Debian GNU/Linux", "{0}", LINUX),
    (r"ubuntu", "Ubuntu", "", LINUX),
    (r"rhel(\d+)", "Red Hat Enterprise Linux", "{0}", LINUX),
    (r"redhat", "Red Hat Enterprise Linux", "", LINUX),
    (r"centos(\d+)", "CentOS", "{0}", LINUX),
    (r"centos", "CentOS", "", LINUX),
    (r"rockylinux", "Rocky Linux", "", LINUX),
    (r"almalinux", "AlmaLinux", "", LINUX),
    (r"oracleLinux(\d+)", "Oracle Linux", "{0}", LINUX),
    (r"oracleLinux", "Oracle Linux", "", LINUX),
    (r"sles(\d+)", "SUSE Linux Enterprise Server", "{0}", LINUX),
    (r"sles", "SUSE Linux Enterprise Server", "", LINUX),
    (r"suse", "SUSE Linux Enterprise Server", "", LINUX),
    (r"opensuse", "openSUSE", "", LINUX),
    (r"fedora", "Fedora", "", LINUX),
    (r"amazonlinux(\d+)", "Amazon Linux", "{0}", LINUX),
    (r"asianux(\d+)", "Asianux", "{0}", LINUX),
    (r"kylinlinux", "Kylin", "", LINUX),
    (r"coreos", "CoreOS", "", LINUX),
    (r"flatcar", "Flatcar", "", LINUX),
    (r"vmwarePhoton", "VMware Photon", "", LINUX),
    (r"freebsd(\d+)", "FreeBSD", "{0}", OTHER),
    (r"freebsd", "FreeBSD", "", OTHER),
    (r"solaris(\d+)", "Sun Solaris", "{0}", OTHER),
    (r"windows7Server", "Windows Server 2008 R2", "", WINDOWS),
    (r"windows8Server", "Windows Server 2012", "", WINDOWS),
    (r"windows9Server", "Windows Server 2016", "", WINDOWS),
    (r"windows2019srv", "Windows Server 2019", "", WINDOWS),
    (r"windows2019srvNext", "Windows Server 2022", "", WINDOWS),
    (r"windows2022srvNext", "Windows Server 2025", "", WINDOWS),
    (r"windows7", "Windows 7", "", WINDOWS),
    (r"windows8", "Windows 8", "", WINDOWS),
    (r"windows9", "Windows 10", "", WINDOWS),
    (r"windows11", "Windows 11", "", WINDOWS),
    (r"windows12", "Windows 12", "", WINDOWS),
    (r"winLonghorn", "Windows Server 2008", "", WINDOWS),
    (r"winNet\w*?", "Windows Server 2003", "", WINDOWS),
    (r"winVista", "Windows Vista", "", WINDOWS),
    (r"winXP\w*?", "Windows XP", "", WINDOWS),
    (r"win2000\w*?", "Windows 2000", "", WINDOWS),
    (r"win98", "Windows 98", "", WINDOWS),
    (r"winNT", "Windows NT 4", "", WINDOWS),
    (r"windows\w*?|win\w*?", "Windows", "", WINDOWS),
    (r"dos", "DOS", "", OTHER),
    (r"(?:other(?:\d+x)?|generic)Linux", "Other Linux", "", LINUX),
    (r"mandrake|mandriva|turboLinux|nld9|oes|sjds|miraclelinux|pardus|fusionos|prolinux", "Other Linux", "", LINUX),
    (r"other", "Other", "", OTHER),
)
"""Pattern of vSphere's id without its ending (`_64Guest` and the like), the name's beginning in CloudStack, the version
where the id has one, and the kind. The first that fits counts, of the whole id."""

_ENDING = re.compile(r"(?:_?64)?(?:Guest(?:64)?)$")
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_PRETTY = re.compile(r"prettyName='([^']*)'")
_BITS = re.compile(r"\((32|64)-bit\)")


@dataclass(frozen=True)
class Family:
    """What a guest is, so far as its id and its tools tell."""

    name: str
    """How CloudStack's names of it begin."""
    version: tuple[int, ...]
    """Empty where it is not known."""
    kind: str
    bits: int


@dataclass(frozen=True)
class OsType:
    """The OS type that a machine gets; `note` says why it is not the very one, "" where it is."""

    id: str
    name: str
    note: str = ""


def family(guest_id: str, guest_name: str = "") -> Family | None:
    """Return what a guest is, or None where its id is not known. `guest_name` may tell the version."""
    stem = _ENDING.sub("", guest_id)
    bits = 64 if "64" in guest_id[len(stem) :] else 32
    for pattern, name, version, kind in _TABLE:
        found = re.fullmatch(pattern, stem)
        if found is None:
            continue
        numbers = _numbers(version.format(*found.groups())) if version else ()
        if not version and not name[-1].isdigit() and kind == LINUX and name != LINUX:
            numbers = _numbers(guest_name)
        return Family(name, numbers, kind, bits)
    return None


def choose(vm: VirtualMachine, types: Iterable[Row]) -> OsType | None:
    """Return the OS type of a machine, of the rows of listOsTypes; None where the cloud has not even an Other."""
    rows = [(str(row.get("description") or row.get("name") or ""), str(row.get("id"))) for row in types]
    known = vm.guest_reported_id if _same_kind(vm) else vm.guest_id
    wanted = family(known, _told(vm)) or Family("", (), OTHER, 64 if "64" in known else 32)
    described = vm.guest_reported_name or vm.guest_name or known or "a guest that vSphere does not name"
    best = _nearest(rows, wanted) if wanted.name else None
    if best is not None:
        name, type_id = best
        return OsType(type_id, name, _difference(name, wanted, described))
    fallback = f"CloudStack has no OS type for {described} ({known or 'no id'}); it is deployed as"
    for beginning in dict.fromkeys((LINUX if wanted.kind == LINUX else OTHER, OTHER)):
        for name, type_id in sorted(rows, key=lambda row: f"{wanted.bits}-bit" not in row[0]):
            if re.fullmatch(rf"{beginning}(?: \(\d\d-bit\))?", name):
                return OsType(type_id, name, f"{fallback} {name}")
    return None


def _same_kind(vm: VirtualMachine) -> bool:
    """Return whether the tools' id may be believed: they tell the running system, sometimes only roughly."""
    reported, configured = family(vm.guest_reported_id), family(vm.guest_id)
    if not vm.guest_reported_id or reported is None:
        return False
    return configured is None or reported.name not in (LINUX, OTHER, WINDOWS)


def _told(vm: VirtualMachine) -> str:
    """Return the guest's own name of itself, which has the version that the id may lack."""
    for key, value in vm.extra_config.items():
        pretty = _PRETTY.search(value) if key.lower() in ("guestinfo.detailed.data", "guestos.detailed.data") else None
        if pretty:
            return pretty[1]
    return vm.guest_reported_name or ""


def _numbers(text: str) -> tuple[int, ...]:
    found = _VERSION.search(_BITS.sub("", text))
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def _nearest(rows: list[tuple[str, str]], wanted: Family) -> tuple[str, str] | None:
    """Return the row of the family whose version is nearest: the same, else the next lower, else the lowest."""
    ranked = []
    for name, type_id in rows:
        rest = name.removeprefix(wanted.name)
        if rest == name or (rest and rest[0].isalnum()):
            continue
        numbers = _numbers(rest)
        if wanted.version:
            same = numbers[: len(wanted.version)] == wanted.version or wanted.version[: len(numbers)] == numbers != ()
            below = numbers <= wanted.version
            rank = (0, ()) if same else (1, tuple(-part for part in numbers)) if below and numbers else (2, numbers)
        else:
            # R2 and SP of a Windows are other systems; of a distribution whose version is not known, the newest.
            rank = (0, ()) if not _BITS.sub("", rest).strip() else (1, tuple(-part for part in numbers))
        bits = _BITS.search(rest)
        wrong = bits is not None and int(bits[1]) != wanted.bits
        ranked.append((wrong, *rank, len(name), name, type_id))
    if not ranked:
        return None
    return min(ranked)[-2:]


def _difference(name: str, wanted: Family, described: str) -> str:
    rest = name.removeprefix(wanted.name)
    numbers, bits = _numbers(rest), _BITS.search(rest)
    if bits is not None and int(bits[1]) != wanted.bits:
        return f"CloudStack has no {wanted.bits}-bit OS type for {described}; it is deployed as {name}"
    if wanted.version and numbers[: len(wanted.version)] != wanted.version[: len(numbers)]:
        return f"CloudStack has no OS type for {described}; it is deployed as {name}, the nearest"
    if not wanted.version and numbers and wanted.name not in (LINUX, OTHER):
        return f"vSphere does not tell the version of {described}; it is deployed as {name}"
    return ""
