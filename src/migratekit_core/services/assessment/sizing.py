"""How much there is to move, how long it takes at a bandwidth, and how long the cut-over would be: estimates.

Every figure is derived from the inventory and, where it was measured, from the rate of change; assumptions are the
constants of this module, and stand in the report.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.units import GIB, MIB, round_up

EFFICIENCY = 0.8
"""Of a link's nominal bandwidth: what remains beside TLS, TCP and the pauses between machines."""
CUTOVER_SECONDS = 120.0
"""Of a cut-over besides its last copy: shutdown of the guest, deploying, starting."""
LAST_INTERVAL_SECONDS = 900.0
"""Between the sync before a cut-over and the cut-over: what changed in that time is copied while the machine is off."""

VSAN = ("VSAN", "VSAND")
"""Datastores, by vSphere's type in capitals, whose `committed` counts every copy of a block."""

BY_FOLDER, BY_CLUSTER, BY_TAG = "folder", "cluster", "tag:"
"""What makes machines one wave; behind the last a category of tags."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_BANDWIDTH = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kKmMgG]i?)?(bit|b|B)(?:/s|ps)?\s*")
"""A small b is a bit, a large one a byte, as everywhere on networks and disks."""


@dataclass(frozen=True)
class MachineSize:
    """Sizes in bytes, times in seconds; None where it is not known."""

    vm: str
    vm_path: str
    wave: str
    disks: int
    capacity_bytes: int
    allocated_bytes: int
    """What the first sync reads, about."""
    at_most: bool
    """Whether that is only an upper bound: on vSAN, where VMware Tools do not tell."""
    target_bytes: int
    """What its volumes take in CloudStack."""
    changed_per_second: float | None
    rate_from: str | None
    """syncs (what changed between earlier syncs) or statistics (what was written, an upper bound)."""
    first_sync_seconds: float | None
    downtime_seconds: float | None


@dataclass(frozen=True)
class Wave:
    """Machines that would be moved together: those of one folder, cluster or tag."""

    name: str
    machines: int
    capacity_bytes: int
    allocated_bytes: int
    seconds: float | None


@dataclass(frozen=True)
class Sizing:
    """The whole."""

    machines: tuple[MachineSize, ...]
    waves: tuple[Wave, ...]
    waves_by: str
    """folder, cluster or tag:CATEGORY."""
    capacity_bytes: int
    allocated_bytes: int
    at_most: int
    """Of how many machines only an upper bound of that is known."""
    target_bytes: int
    changed_per_second: float | None
    """Of all machines whose rate is known."""
    measured: int
    """How many machines it is known of."""
    bandwidth: float | None
    """Nominal, in bytes per second."""
    seconds: float | None
    """Until all machines are in step for the first time; None without a bandwidth, or where they never are."""


def parse_bandwidth(text: str) -> float:
    """Return bytes per second of a text such as `1Gbit/s`, `500Mbit`, `100MB/s` or `80MiB/s`. Raises UsageError."""
    found = _BANDWIDTH.fullmatch(text)
    value = float(found[1]) if found else 0.0
    if not found or value <= 0:
        raise UsageError(
            f"bandwidth {text!r} is not understood",
            "it is no rate",
            "write it as 1Gbit/s, 200Mbit/s, 100MB/s",
            code=ErrorCode.USAGE,
        )
    return value * _UNITS[(found[2] or "").lower()] / (1 if found[3] == "B" else 8)


def allocated(vm: VirtualMachine) -> int:
    """Return about how many bytes of a machine's disks hold data.

    vSphere counts what the machine occupies on its datastores; its swap file is no disk, and what is thick counts in
    full. On vSAN that contains the copies that the storage keeps (180 GiB of a disk of 60 GiB, recorded): there the
    file systems of the guest tell, by VMware Tools, where they do; else it is an upper bound (`at_most`). Never more
    than the capacity.
    """
    capacity = sum(disk.capacity_bytes for disk in vm.disks)
    if not vm.committed_bytes:
        return capacity
    swap = max(vm.memory_mib - vm.memory_reservation_mib, 0) * MIB if vm.power == "poweredOn" else 0
    thick = sum(disk.capacity_bytes for disk in vm.disks if disk.provisioning != "thin")
    occupied = vm.committed_bytes - swap
    if _on_vsan(vm):
        occupied = min(occupied, _used(vm, capacity))
    return min(max(occupied, thick, 0), capacity)


def at_most(vm: VirtualMachine) -> bool:
    """Return whether `allocated` is but an upper bound."""
    return bool(vm.committed_bytes) and _on_vsan(vm) and not vm.guest_volumes


def _on_vsan(vm: VirtualMachine) -> bool:
    stores = filter(None, map(vm.datastore_of, vm.disks))
    return any(store.type.upper() in VSAN for store in stores)


def _used(vm: VirtualMachine, capacity: int) -> int:
    """Return what the guest's file systems hold; what they leave of the disks may be in use in another way."""
    if not vm.guest_volumes:
        return capacity
    used = sum(volume.capacity_bytes - volume.free_bytes for volume in vm.guest_volumes)
    return used + max(capacity - sum(volume.capacity_bytes for volume in vm.guest_volumes), 0)


def size(
    machines: Sequence[VirtualMachine],
    bandwidth: float | None = None,
    written: Mapping[str, float] | None = None,
    changed: Mapping[str, float] | None = None,
    waves: str = BY_FOLDER,
) -> Sizing:
    """Return the sizes of these machines.

    `waves`: what makes machines one wave: `folder`, `cluster`, or `tag:CATEGORY`.
    `written` and `changed` are bytes per second by managed object id (changes.py, history.py); what changed is the
    better measure, where it is known.
    """
    sizes = tuple(
        _machine(vm, _wave(vm, waves), bandwidth, *_rate(vm, written or {}, changed or {})) for vm in machines
    )
    known = [each.changed_per_second for each in sizes if each.changed_per_second is not None]
    total = sum(known) if known else None
    data = sum(each.allocated_bytes for each in sizes)
    return Sizing(
        machines=sizes,
        waves=_waves(sizes, bandwidth),
        waves_by=waves,
        capacity_bytes=sum(each.capacity_bytes for each in sizes),
        allocated_bytes=data,
        at_most=sum(each.at_most for each in sizes),
        target_bytes=sum(each.target_bytes for each in sizes),
        changed_per_second=total,
        measured=len(known),
        bandwidth=bandwidth,
        seconds=first_sync(data, bandwidth, total),
    )


def _rate(
    vm: VirtualMachine, written: Mapping[str, float], changed: Mapping[str, float]
) -> tuple[float | None, str | None]:
    if vm.moref in changed:
        return changed[vm.moref], "syncs"
    return (written[vm.moref], "statistics") if vm.moref in written else (None, None)


def check_waves(waves: str) -> None:
    """Raise UsageError where `waves` names nothing that makes waves."""
    if waves not in (BY_FOLDER, BY_CLUSTER) and not (waves.startswith(BY_TAG) and waves != BY_TAG):
        raise UsageError(
            f"waves {waves!r} are not understood",
            "machines are put together by something they have in common",
            "use folder, cluster, or tag:CATEGORY",
            code=ErrorCode.USAGE,
        )


def _wave(vm: VirtualMachine, waves: str) -> str:
    if waves == BY_CLUSTER:
        return common(vm, waves) or "no cluster"
    return common(vm, waves) or f"no tag {waves.removeprefix(BY_TAG)}"


def common(vm: VirtualMachine, by: str) -> str:
    """Return what a machine has in common with others: its folder, its cluster, or its tag of a category; "" if none.

    Of several tags of the category it is the first.
    """
    if by == BY_FOLDER:
        return vm.folder or vm.path.rpartition("/")[0]
    if by == BY_CLUSTER:
        return vm.cluster
    category = by.removeprefix(BY_TAG) + ":"
    found = sorted(tag for tag in vm.tags or () if tag.startswith(category))
    return found[0].removeprefix(category) if found else ""


def _machine(
    vm: VirtualMachine, wave: str, bandwidth: float | None, rate: float | None, source: str | None
) -> MachineSize:
    data = allocated(vm)
    downtime = None
    if bandwidth and rate is not None:
        downtime = CUTOVER_SECONDS + rate * LAST_INTERVAL_SECONDS / (bandwidth * EFFICIENCY)
    return MachineSize(
        vm=vm.name,
        vm_path=vm.path,
        wave=wave,
        disks=len(vm.disks),
        capacity_bytes=sum(disk.capacity_bytes for disk in vm.disks),
        allocated_bytes=data,
        at_most=at_most(vm),
        target_bytes=sum(round_up(disk.capacity_bytes, GIB) for disk in vm.disks),
        changed_per_second=rate,
        rate_from=source,
        first_sync_seconds=first_sync(data, bandwidth, rate),
        downtime_seconds=downtime,
    )


def first_sync(data: int, bandwidth: float | None, rate: float | None) -> float | None:
    """Return the seconds until a copy has caught up with what changes meanwhile; None where it never does."""
    if not bandwidth:
        return None
    left = bandwidth * EFFICIENCY - (rate or 0.0)
    return data / left if left > 0 else None


def _waves(sizes: Sequence[MachineSize], bandwidth: float | None) -> tuple[Wave, ...]:
    groups: defaultdict[str, list[MachineSize]] = defaultdict(list)
    for each in sizes:
        groups[each.wave].append(each)
    waves = []
    for name, members in sorted(groups.items()):
        rates = [each.changed_per_second for each in members if each.changed_per_second is not None]
        data = sum(each.allocated_bytes for each in members)
        capacity = sum(each.capacity_bytes for each in members)
        waves.append(Wave(name, len(members), capacity, data, first_sync(data, bandwidth, sum(rates))))
    return tuple(waves)
