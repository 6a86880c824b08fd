"""The state the machine is in, and whether its guest can be spoken to."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.vsphere.inventory import VirtualMachine, left_out
from migratekit_core.adapters.vsphere.inventory.filters import AGENT, PLACEHOLDER
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site

RUNNING = "poweredOn"
OLD_TOOLS = ("guestToolsNeedUpgrade", "guestToolsTooOld", "guestToolsSupportedOld", "guestToolsBlacklisted")


@machine_rule(
    "MK-STATE-001",
    Severity.INFO,
    "powered off",
    why="It is replicated as it is. What only a running guest tells (addresses, host name) is not known.",
    remedy="Nothing has to be done; think whether it has to be moved at all.",
)
def powered_off(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that are off."""
    if vm.power == "poweredOff" and not vm.template and vm.readable:
        yield Hit("the machine is powered off")


@machine_rule(
    "MK-STATE-002",
    Severity.BLOCKER,
    "suspended",
    why="Its memory is in a file that does not come along, its disks are those of a crash, and it cannot be shut down.",
    remedy="Resume it, or power it off.",
)
def suspended(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report suspended machines."""
    if vm.power == "suspended":
        yield Hit("the machine is suspended")


@machine_rule(
    "MK-STATE-003",
    Severity.BLOCKER,
    "orphaned, inaccessible or disconnected",
    why="vCenter cannot reach the machine or its files.",
    remedy="Repair it in vCenter: reconnect the host, bring the datastore back, or register the machine again.",
)
def connection(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that vCenter has lost."""
    if vm.connection != "connected":
        unread = "" if vm.readable else "; its configuration cannot be read, so nothing else was looked at"
        yield Hit(f"vSphere calls it {vm.connection or 'unknown'}{unread}")


@machine_rule(
    "MK-STATE-004",
    Severity.BLOCKER,
    "template",
    why="Templates cannot be started, snapshot or tracked.",
    remedy="Deploy a machine from it and move that, or register a template of the same system in CloudStack.",
)
def template(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report templates."""
    if vm.template:
        yield Hit("it is a template")


@machine_rule(
    "MK-STATE-005",
    Severity.WARNING,
    "VMware Tools are missing or not running",
    why="Then the guest cannot be shut down in order: failover stops there, unless it may power off. Addresses "
    "and host "
    "name are not known either.",
    remedy="Install or start VMware Tools (open-vm-tools), or allow failover.power_off.",
)
def no_tools(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report running machines without tools."""
    if vm.power == RUNNING and vm.tools != "guestToolsRunning":
        missing = vm.tools_status == "guestToolsNotInstalled"
        yield Hit("VMware Tools are not installed" if missing else "VMware Tools are not running")


@machine_rule(
    "MK-STATE-006",
    Severity.INFO,
    "VMware Tools are old",
    why="Old tools may not shut the guest down reliably, or not tell all of its addresses.",
    remedy="Update them before the failover; remove them after it.",
)
def old_tools(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report tools that vSphere calls old."""
    if vm.tools_status in OLD_TOOLS:
        yield Hit(f"vSphere calls version {vm.tools_version or 'unknown'} {vm.tools_status}")


@machine_rule(
    "MK-STATE-007",
    Severity.WARNING,
    "machine of vSphere's own",
    why="vSphere made it and will make it again (vCLS, agents of NSX and vSAN), or it stands for a machine of another "
    "site (Site Recovery).",
    remedy="Leave it out.",
)
def of_vsphere(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report agents of vSphere, and placeholders."""
    kind = left_out(vm)
    if kind in (AGENT, PLACEHOLDER):
        yield Hit(f"it is one of the {kind}")


@machine_rule(
    "MK-STATE-008",
    Severity.WARNING,
    "machine that something else manages",
    why="An extension of vCenter owns it (OpenStack Nova, backup and disaster recovery products, a portal): it may "
    "start, change or delete the machine while it is migrated, and does not know of the new one.",
    remedy="Tell that product, or take the machine out of its hands, before the failover.",
)
def managed(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that belong to an extension which is not vSphere's own."""
    if vm.managed_by and not left_out(vm):
        yield Hit(f"it belongs to the extension {vm.managed_by}")
