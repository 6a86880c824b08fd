"""What has to be right before a machine is failed over; every reason is told at once, not the first."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.errors import MigrateKitError, PreconditionError
from migratekit_core.ossea import compute, networks, offerings
from migratekit_core.ossea.client import Cloud
from migratekit_core.ossea.compute import NicSpec, VmSpec
from migratekit_core.replication.replica import COMPLETED, Replica
from migratekit_core.runtime import Runtime
from migratekit_core.vsphere.inventory import VirtualMachine

LEAST_MEMORY = 32
"""MiB that CloudStack asks of a machine at least, also with a custom offering."""


@dataclass(frozen=True)
class Target:
    """What a machine will be on the other side."""

    spec: VmSpec
    mappings: dict[str, str]
    """Source network → CloudStack network."""


@dataclass(frozen=True)
class Plan:
    """What a failover or a rehearsal would do."""

    vm_name: str
    destination_name: str
    networks: dict[str, str]
    steps: tuple[str, ...]


def check(
    runtime: Runtime,
    cloud: Cloud,
    vm: VirtualMachine,
    replica: Replica | None,
    *,
    test: bool,
    vm_name: str,
    adopt: bool = False,
    power_off: bool = True,
) -> Target:
    """Return the target of a failover. Raises PreconditionError with all reasons why there cannot be one.

    `test` puts every card into the isolated test network, without its MAC address; `adopt` allows a machine named
    `vm_name` to exist, for an earlier run of the same failover may have made it; without `power_off` the guest has to
    be able to shut down by itself.
    """
    reasons = _replica_reasons(replica, finished=test)
    if not test and not power_off and vm.power == "poweredOn" and vm.tools != "guestToolsRunning":
        reasons.append("VMware Tools are not running, so its guest cannot be shut down (--power-off allows it)")
    mappings = _mappings(runtime, vm, test, reasons)
    spec = None
    try:
        zone = offerings.zone(cloud, runtime.ossea.zone)
        nics = []
        for nic in vm.nics:
            if nic.network in mappings:
                network = networks.network(cloud, zone["id"], mappings[nic.network])
                nics.append(NicSpec(network["id"], mac=None if test else nic.mac))
        offering_id, details = _offering(cloud, runtime.ossea.service_offering, vm, reasons)
        spec = VmSpec(
            name=vm_name,
            display_name=f"{vm.name} (rehearsal)" if test else vm.name,
            zone_id=zone["id"],
            nics=tuple(nics),
            firmware=vm.firmware,
            service_offering_id=offering_id,
            details=details,
        )
        if not adopt and compute.find(cloud, name=vm_name) is not None:
            reasons.append(f"CloudStack already has a machine named {vm_name}")
    except PreconditionError as error:
        reasons.append(str(error))
    if not vm.nics:
        reasons.append("the machine has no network card, and CloudStack deploys none without")
    if reasons or spec is None:
        raise PreconditionError(
            f"{vm.name} cannot be failed over", "; ".join(reasons), "mend each of these, then run the command again"
        )
    return Target(spec, mappings)


def _replica_reasons(replica: Replica | None, *, finished: bool) -> list[str]:
    """Return what is missing; a live failover syncs once more itself, a rehearsal needs a sync that is `finished`."""
    if replica is None:
        return ["it was never replicated (migratekit replicate)"]
    reasons = []
    if finished and replica.job.status != COMPLETED:
        reasons.append(f"its last sync is {replica.job.status} (migratekit replicate)")
    reasons += [
        f"{disk.label} is not synced"
        for disk in replica.disks
        if disk.disk_change_id is None or disk.ossea_volume_id is None
    ]
    return reasons


def _mappings(runtime: Runtime, vm: VirtualMachine, test: bool, reasons: list[str]) -> dict[str, str]:
    settings = runtime.config.networks
    if test and settings.test is None:
        reasons.append("networks.test names no isolated network for rehearsals")
    mappings: dict[str, str] = {}
    for nic in vm.nics:
        if nic.unresolved:
            reasons.append(f"{nic.label} has no network: {nic.unresolved}")
        elif test and settings.test is not None:
            mappings[nic.network] = settings.test
        elif nic.network in settings.map:
            mappings[nic.network] = settings.map[nic.network]
        elif not test:
            reasons.append(f"network {nic.network!r} of {nic.label} is not in networks.map")
    return mappings


def _offering(cloud: Cloud, wanted: str, vm: VirtualMachine, reasons: list[str]) -> tuple[str, dict[str, str]]:
    """Return the offering's id, and the details that a custom one has to be given."""
    offering = offerings.service_offering(cloud, wanted)
    if vm.memory_mib < LEAST_MEMORY:
        reasons.append(
            f"it has {vm.memory_mib} MiB of memory, and CloudStack gives no machine less than {LEAST_MEMORY}"
        )
    if offering.get("iscustomized"):
        details = {"cpuNumber": str(vm.cpus), "memory": str(vm.memory_mib)}
        return str(offering["id"]), details
    cpus, memory = int(offering.get("cpunumber") or 0), int(offering.get("memory") or 0)
    if cpus < vm.cpus or memory < vm.memory_mib:
        reasons.append(
            f"service offering {wanted!r} has {cpus} CPUs and {memory} MiB, "
            f"the machine {vm.cpus} and {vm.memory_mib} MiB"
        )
    return str(offering["id"]), {}


def hint_source_is_off(error: MigrateKitError, vm: VirtualMachine, committed: bool) -> None:
    """Add to an error that the source was shut down and nothing runs instead of it yet.

    Once its volumes were handed over (`committed`), starting the source would begin a second truth, so it is not named.
    """
    way = "run the failover again" if committed else "run the failover again, or power it on in vCenter"
    error.todo = f"{error.todo}; the source {vm.name} is powered off and nothing has replaced it: {way}"
