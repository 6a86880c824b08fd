"""Names: the machine's in vSphere and in CloudStack, and the guest's own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site
from migratekit_core.volumed.names import host_name

LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
"""One label of a host name (RFC 1123)."""
LONGEST = 63


@machine_rule(
    "MK-NAME-001",
    Severity.WARNING,
    "duplicate name",
    why="A name that several machines have is ambiguous, and CloudStack has a host name only once in a network.",
    remedy="Name it by its path or id on the command line; rename one of them before the failover.",
)
def duplicate(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report names that several machines have."""
    others = [other.path for other in site.by_name.get(vm.name.lower(), ()) if other.moref != vm.moref]
    if others and not vm.template:
        yield Hit(f"also {', '.join(sorted(others))}")


@machine_rule(
    "MK-NAME-002",
    Severity.INFO,
    "name is changed for CloudStack",
    why="CloudStack takes letters, digits and hyphens, a letter first, at most 63.",
    remedy="Nothing has to be done; rename the machine in vCenter where the new name does not suit.",
)
def changed(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report names that CloudStack would not take as they are."""
    if host_name(vm.name) != vm.name:
        yield Hit(f"{vm.name!r} becomes {host_name(vm.name)!r}")


@machine_rule(
    "MK-NAME-003",
    Severity.WARNING,
    "several machines get the same name in CloudStack",
    why="Their names differ only in characters that CloudStack does not take, or behind the 63rd.",
    remedy="Rename one of them in vCenter before the failover.",
)
def collision(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report names that become the same."""
    mine = host_name(vm.name).lower()
    # Those that have the very same name are MK-NAME-001's.
    others = [other.path for other in site.by_target_name.get(mine, ()) if other.name.lower() != vm.name.lower()]
    if others and not vm.template:
        yield Hit(f"{mine!r} is also the name of {', '.join(sorted(others))}")


@machine_rule(
    "MK-NAME-004",
    Severity.WARNING,
    "guest calls itself localhost",
    why="The guest takes its name from DHCP or never got one: on the target it will be called otherwise, or "
    "like others.",
    remedy="Set the host name in the guest before the migration.",
)
def localhost(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report guests without a name of their own."""
    if vm.guest_hostname.lower().partition(".")[0] == "localhost":
        yield Hit(f"its host name is {vm.guest_hostname}")


@machine_rule(
    "MK-NAME-005",
    Severity.WARNING,
    "guest's host name is too long or not legal",
    why=f"Host names are labels of letters, digits and hyphens, at most {LONGEST} characters each; DHCP and DNS of the "
    "target's network take no others.",
    remedy="Set a legal host name in the guest.",
)
def illegal(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report host names that no DNS would take."""
    label = vm.guest_hostname.partition(".")[0]
    if label and not LABEL.fullmatch(label):
        yield Hit(f"its host name is {vm.guest_hostname!r}")


@machine_rule(
    "MK-NAME-006",
    Severity.WARNING,
    "guests with the same host name",
    why="They are clones of one another, or a cluster; in one network of the target only one of them can have "
    "the name.",
    remedy="Set distinct host names, or move them into different networks.",
)
def same_hostname(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report host names that several guests have."""
    users = site.by_guest_hostname.get(vm.guest_hostname.lower(), ())
    others = [other.path for other in users if other.moref != vm.moref]
    if others and not vm.guest_hostname.lower().startswith("localhost"):
        yield Hit(f"{vm.guest_hostname} is also the name of the guest of {', '.join(sorted(others))}")
