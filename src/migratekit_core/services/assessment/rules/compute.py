"""CPU and memory: what is promised to the machine, and what the target does not know."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.cloudstack.limits import LEAST_MEMORY
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site


@machine_rule(
    "MK-CPU-001",
    Severity.INFO,
    "CPU hot-add",
    why="The setting does not come along. In CloudStack it is a matter of offering and template (dynamic scaling).",
    remedy="Choose a scalable offering where the machine really grows while it runs.",
)
def cpu_hot_add(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report CPU hot-add or hot-remove."""
    if vm.cpu_hot_add or vm.cpu_hot_remove:
        yield Hit("CPUs can be added or removed while it runs")


@machine_rule(
    "MK-CPU-002",
    Severity.WARNING,
    "CPU affinity",
    why="The machine is pinned to CPUs of its host; on the target it is not, and its licence may depend on that.",
    remedy="Find out why it is pinned; use a dedicated host or an offering with pinning where it matters.",
)
def cpu_affinity(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report pinned CPUs."""
    if vm.cpu_affinity:
        yield Hit(f"pinned to CPU {', '.join(map(str, vm.cpu_affinity))}")


@machine_rule(
    "MK-CPU-003",
    Severity.WARNING,
    "NUMA affinity",
    why="The machine is pinned to NUMA nodes of its host; on the target it is not.",
    remedy="Find out why it is pinned; measure again on the target.",
)
def numa_affinity(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report pinned NUMA nodes, set as affinity or as an advanced setting."""
    nodes = ", ".join(map(str, vm.memory_affinity)) or vm.extra_config.get("numa.nodeAffinity", "")
    if nodes:
        yield Hit(f"pinned to NUMA node {nodes}")


@machine_rule(
    "MK-CPU-004",
    Severity.INFO,
    "CPU reservation or limit",
    why="Offerings of CloudStack promise CPU by over-provisioning, not by reservation.",
    remedy="Choose an offering (and host tags) that gives what the machine was promised.",
)
def cpu_reservation(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report promises and limits of CPU."""
    if vm.cpu_reservation_mhz:
        yield Hit(f"{vm.cpu_reservation_mhz} MHz are reserved")
    if vm.cpu_limit_mhz is not None:
        yield Hit(f"limited to {vm.cpu_limit_mhz} MHz", "limit")


@machine_rule(
    "MK-CPU-005",
    Severity.WARNING,
    "latency sensitivity is high",
    why="The machine has physical CPUs to itself; on the target it shares them.",
    remedy="Give it a dedicated host or a pinned offering, and measure before the cut-over (test-failover).",
)
def latency(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that are sensitive to latency."""
    if vm.latency_sensitivity in ("high", "medium"):
        yield Hit(f"latency sensitivity is {vm.latency_sensitivity}")


@machine_rule(
    "MK-MEM-001",
    Severity.INFO,
    "memory hot-add",
    why="The setting does not come along. In CloudStack it is a matter of offering and template (dynamic scaling).",
    remedy="Choose a scalable offering where the machine really grows while it runs.",
)
def memory_hot_add(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report memory hot-add."""
    if vm.memory_hot_add:
        yield Hit("memory can be added while it runs")


@machine_rule(
    "MK-MEM-002",
    Severity.INFO,
    "memory reservation or limit",
    why="Offerings of CloudStack promise memory by over-provisioning, not by reservation.",
    remedy="Choose an offering (and a cluster without memory over-provisioning) that gives what was promised.",
)
def memory_reservation(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report promises and limits of memory."""
    if vm.memory_reservation_locked:
        yield Hit("all of its memory is reserved")
    elif vm.memory_reservation_mib:
        yield Hit(f"{vm.memory_reservation_mib} MiB are reserved")
    if vm.memory_limit_mib is not None:
        yield Hit(f"limited to {vm.memory_limit_mib} MiB", "limit")


@machine_rule(
    "MK-MEM-003",
    Severity.BLOCKER,
    "too little memory",
    why=f"CloudStack gives no machine less than {LEAST_MEMORY} MiB.",
    remedy="Give the machine more memory.",
)
def little_memory(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines with less than CloudStack's least."""
    if vm.memory_mib < LEAST_MEMORY:
        yield Hit(f"it has {vm.memory_mib} MiB")
