"""Each machine against the target: its disks, its size, its name and its addresses there."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.cloudstack import addresses, guest_os, offerings
from migratekit_core.adapters.cloudstack.limits import DATA_DISKS, LEAST_MEMORY
from migratekit_core.adapters.cloudstack.offerings import Size
from migratekit_core.adapters.vsphere.inventory import Nic, VirtualMachine
from migratekit_core.common.units import GIB, human_bytes, round_up
from migratekit_core.services.assessment import systems
from migratekit_core.services.assessment.rule import Hit, Severity, machine_rule
from migratekit_core.services.assessment.site import Site
from migratekit_core.services.assessment.target import Row, Target, named
from migratekit_core.volumed.names import host_name


def _target(site: Site) -> Target:
    assert site.target is not None, "the rules that call this need it"
    return site.target


@machine_rule(
    "MK-TGT-101",
    Severity.BLOCKER,
    "more disks than the target attaches",
    why="While it is replicated all of its disks are data disks of the OMA. CloudStack attaches a limited number: "
    f"{DATA_DISKS} are assumed where neither ossea.max_disks nor listHypervisorCapabilities says otherwise.",
    remedy="Merge disks in the guest; or raise max_data_volumes_limit of KVM (updateHypervisorCapabilities) and "
    "ossea.max_disks.",
)
def many_disks(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines with more disks than the OMA holds."""
    limit = site.target.disk_limit if site.target else DATA_DISKS
    if len(vm.disks) > limit:
        yield Hit(f"it has {len(vm.disks)} disks, and {limit} can be attached")


@machine_rule(
    "MK-TGT-102",
    Severity.BLOCKER,
    "disk is larger than the target allows",
    why="CloudStack makes no volume beyond custom.diskoffering.size.max.",
    remedy="Raise that global setting (in GiB), or split the disk.",
    needs=("target.capabilities",),
)
def large_disk(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report disks beyond the limit of custom offerings."""
    limit = int((_target(site).capabilities or {}).get("customdiskofferingmaxsize") or 0)
    for disk in vm.disks:
        if limit and round_up(disk.capacity_bytes, GIB) > limit * GIB:
            yield Hit(f"{human_bytes(disk.capacity_bytes)}, and the limit is {limit} GiB", disk.label)


@machine_rule(
    "MK-TGT-103",
    Severity.BLOCKER,
    "service offering is too small",
    why="The machine would have fewer CPUs or less memory than now; failover refuses that.",
    remedy="Use a custom service offering, or one that is large enough.",
    needs=("target.service_offerings",),
)
def small_offering(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report machines that need more than a fixed offering has."""
    target = _target(site)
    need, speed = Size(vm.cpus, vm.memory_mib), target.wanted.cpu_speed
    if vm.memory_mib < LEAST_MEMORY:
        return  # MK-MEM-003's
    if target.wanted.service_offering is None:
        if offerings.smallest(target.service_offerings or (), need, speed) is None:
            yield Hit(f"no service offering has {vm.cpus} CPUs and {vm.memory_mib} MiB")
        return
    for offering in named(target.service_offerings or (), target.wanted.service_offering):
        choice = offerings.fit(offering, need, speed)
        if isinstance(choice, str):
            yield Hit(choice)


@machine_rule(
    "MK-TGT-104",
    Severity.INFO,
    "the target has no such OS type",
    why="The machine is deployed as Other; KVM then gives it fewer devices that suit the system.",
    remedy="Add the OS type in CloudStack (addGuestOs), or leave it.",
    needs=("target.os_types",),
)
def no_os_type(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report systems that listOsTypes does not have."""
    if guest_os.family(vm.guest_id) is None or systems.unsupported(vm):
        return  # MK-GUEST-002's and MK-GUEST-001's
    found = guest_os.choose(vm, _target(site).os_types or ())
    if found is None:
        yield Hit("CloudStack has no OS types at all")
    elif found.note:
        yield Hit(found.note)


@machine_rule(
    "MK-TGT-105",
    Severity.BLOCKER,
    "name is taken on the target",
    why="failover deploys no second machine of that name.",
    remedy="Rename one of them, or remove the machine in CloudStack if it is left over.",
    needs=("target.machines",),
)
def name_taken(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report names that a machine of the target has."""
    name = host_name(vm.name)
    for other in _target(site).machines or ():
        if str(other.get("name", "")).lower() == name.lower():
            yield Hit(f"CloudStack has a machine {other.get('name')} ({other.get('id')}, {other.get('state')})")


@machine_rule(
    "MK-TGT-106",
    Severity.WARNING,
    "static address outside the target's network",
    why="The guest keeps the address that is set in it, and cannot be reached with it in the new network.",
    remedy="Map to a network with the same subnet, or change the address in the guest (or in DNS and DHCP) at "
    "failover.",
    needs=("target.networks", "network_map"),
)
def outside(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report addresses, set by hand or of unknown origin, that the mapped network does not have."""
    for nic, network in _mapped(vm, site):
        subnet = addresses.subnet(network)
        for address in addresses.static(nic):
            if subnet is not None and address.version == subnet.version and address not in subnet:
                yield Hit(f"{address} is not in {subnet} of {network.get('name')}", nic.label)


@machine_rule(
    "MK-TGT-107",
    Severity.WARNING,
    "address is in use on the target",
    why="Two machines, or a machine and the network's gateway, cannot have one address.",
    remedy="Change the address of one of them, or map to another network.",
    needs=("target.networks", "target.machines", "network_map"),
)
def address_taken(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report addresses that the mapped network's gateway or a machine in it has."""
    for nic, network in _mapped(vm, site):
        taken = addresses.taken(_target(site).machines or (), network)
        for address in addresses.static(nic):
            if str(address) in taken:
                yield Hit(f"{address} is the address of {taken[str(address)]} in {network.get('name')}", nic.label)


@machine_rule(
    "MK-TGT-108",
    Severity.BLOCKER,
    "MAC address is in use on the target",
    why="CloudStack refuses a second card with the same MAC address in a network.",
    remedy="Remove the other machine (a copy of this one?), or change the address of one of them.",
    needs=("target.networks", "target.machines", "network_map"),
)
def mac_taken(vm: VirtualMachine, site: Site) -> Iterator[Hit]:
    """Report MAC addresses that a machine in the mapped network has."""
    for nic, network in _mapped(vm, site):
        taken = addresses.macs(_target(site).machines or (), network)
        if nic.mac and nic.mac.lower() in taken:
            yield Hit(f"{nic.mac} is the address of {taken[nic.mac.lower()]} in {network.get('name')}", nic.label)


def _mapped(vm: VirtualMachine, site: Site) -> Iterator[tuple[Nic, Row]]:
    """Yield each card with the network that it will be in."""
    for nic in vm.nics:
        wanted = site.goes(vm, nic)
        for network in named(_target(site).networks or (), wanted) if wanted else ():
            yield nic, network
