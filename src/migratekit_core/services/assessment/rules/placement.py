"""Where the machine may run: fault tolerance, the cluster's rules, vApps."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site


@machine_rule(
    "MK-PLACE-001",
    Severity.BLOCKER,
    "fault tolerance",
    why="A fault tolerant machine takes snapshots of backups only, its settings (change tracking) cannot be "
    "edited, and "
    "the target has no second machine in lockstep.",
    remedy="Turn fault tolerance off for the migration; plan high availability on the target.",
)
def fault_tolerance(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report fault tolerant machines."""
    if vm.fault_tolerance not in ("", "notConfigured"):
        yield Hit(f"vSphere calls it {vm.fault_tolerance}")


@machine_rule(
    "MK-PLACE-002",
    Severity.INFO,
    "DRS override",
    why="The cluster treats this machine otherwise than the rest; CloudStack does not know of it.",
    remedy="Find out why; use host tags or a dedicated host where it must stay put.",
)
def drs_override(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report DRS settings of its own."""
    if vm.drs_override:
        yield Hit(f"its own DRS setting is {vm.drs_override}")


@machine_rule(
    "MK-PLACE-003",
    Severity.INFO,
    "HA override",
    why="The cluster restarts this machine sooner, later or not at all; CloudStack knows only whether an "
    "offering has HA.",
    remedy="Choose an offering with or without HA accordingly.",
)
def ha_override(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report HA settings of its own."""
    if vm.ha_override:
        yield Hit(f"its own restart priority is {vm.ha_override}")


@machine_rule(
    "MK-PLACE-004",
    Severity.WARNING,
    "affinity rule",
    why="The cluster keeps the machine together with, or apart from, others or on certain hosts. That does not "
    "come along.",
    remedy="Make an affinity group (host affinity, host anti-affinity) in CloudStack and put the new machine into it.",
)
def affinity_rule(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report rules of the cluster."""
    for name in vm.drs_rules:
        yield Hit(f"rule {name!r} of cluster {vm.cluster or 'unknown'}", name)


@machine_rule(
    "MK-PLACE-005",
    Severity.WARNING,
    "part of a vApp",
    why="Start order, shared settings and the OVF environment (addresses!) of the vApp do not come along.",
    remedy="Note the start order; see what the guest reads from its OVF environment, and set it in the guest.",
)
def vapp(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report members of vApps."""
    if vm.vapp:
        yield Hit(f"it is in the vApp {vm.vapp}")
