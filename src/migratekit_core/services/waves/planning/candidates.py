"""Which machines are to be moved, what each belongs to, and where it goes; those that are not, each with the reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from migratekit_core.adapters.vsphere.inventory import VirtualMachine, left_out, shown
from migratekit_core.services.assessment.sizing import allocated, common
from migratekit_core.services.waves.model import Machine, Target
from migratekit_core.services.waves.rules import BY_NAME, BY_VAPP, Place, Rules

BLOCKED, RULED_OUT, TAKEN, UNFIT = "blocked", "left out", "taken", "unfit"
"""Why a machine is in no wave: a finding of assess; the rules; another wave or a failover; nobody could move it."""


@dataclass(frozen=True)
class Found:
    """A machine of the source."""

    vm: VirtualMachine
    vcenter: str
    """Profile of the vCenter whose inventory it is in; "" is [vcenter]."""


@dataclass(frozen=True)
class LeftOut:
    """A machine that is in no wave."""

    vm: str
    vm_uuid: str
    vm_path: str
    vcenter: str
    kind: str
    why: str


@dataclass(frozen=True)
class Candidate:
    """A machine that is to be in a wave."""

    name: str
    """Of its own in the plan: where several machines have one name, the inventory path."""
    vm: VirtualMachine
    vcenter: str
    group: str
    omas: tuple[str, ...]
    """That it may go to."""
    networks: str
    target: Target
    data: int
    """Bytes that its first sync reads, about."""
    capacity: int

    @property
    def uuid(self) -> str:
        """Return its instanceUuid."""
        return self.vm.uuid

    @property
    def disks(self) -> int:
        """Return how many disks it has."""
        return len(self.vm.disks)

    @property
    def host(self) -> str:
        """Return what its ESXi host is called, and where."""
        return self.vm.host_name or self.vm.host or ""

    @property
    def datastores(self) -> tuple[str, ...]:
        """Return the datastores of its disks."""
        return tuple(dict.fromkeys(shown(disk.datastore) for disk in self.vm.disks))

    def machine(self, oma: str, stage: int, depends_on: Iterable[str]) -> Machine:
        """Return it as the wave file has it."""
        return Machine(
            name=self.name,
            uuid=self.uuid,
            moref=self.vm.moref,
            path=self.vm.path,
            vcenter=self.vcenter,
            oma=oma,
            host=self.host,
            datastores=self.datastores,
            disks=self.disks,
            capacity_bytes=self.capacity,
            data_bytes=self.data,
            group=self.group,
            stage=stage,
            depends_on=tuple(depends_on),
            networks=self.networks,
            target=self.target,
        )


def sort_out(
    machines: Iterable[Found], rules: Rules, kept_out: Mapping[tuple[str, str], tuple[str, str]]
) -> tuple[tuple[Candidate, ...], tuple[LeftOut, ...]]:
    """Return the machines that are to be moved, and those that are not.

    `kept_out`: kind and reason, by vCenter and managed object id, of machines that something else than the rules keeps
    out. What `select` does not name, templates, and what belongs to vCenter itself are in neither.
    """
    chosen: list[Candidate] = []
    left: list[LeftOut] = []
    for found in machines:
        vm = found.vm
        if left_out(vm) or not rules.select.fits(vm, found.vcenter):
            continue
        kind, why = _kept_out(found, rules, kept_out)
        if kind:
            left.append(LeftOut(vm.name, vm.uuid, vm.path, found.vcenter, kind, why))
        else:
            chosen.append(_candidate(found, rules))
    uuids = Counter(each.uuid for each in chosen)
    names = Counter(each.name for each in chosen)
    unique = [each for each in chosen if uuids[each.uuid] == 1]
    left += [
        LeftOut(each.vm.name, each.uuid, each.vm.path, each.vcenter, UNFIT, "another machine has the same instanceUuid")
        for each in chosen
        if uuids[each.uuid] > 1
    ]
    return tuple(replace(each, name=_label(each)) if names[each.name] > 1 else each for each in unique), tuple(left)


def _label(each: Candidate) -> str:
    # Two vCenters may have the same path.
    return f"{each.vcenter}:{each.vm.path}" if each.vcenter else each.vm.path


def group_of(vm: VirtualMachine, vcenter: str, rules: Rules) -> str:
    """Return the group of a machine; one that has nothing in common with others is alone in its own."""
    for name, match in rules.groups.items():
        if match.fits(vm, vcenter):
            return name
    for by in rules.group_by:
        if by == BY_VAPP:
            found = vm.vapp
        elif by.startswith(BY_NAME):
            hit = re.match(by.removeprefix(BY_NAME), vm.name)
            found = next((part for part in hit.groups() if part), "") if hit else ""
        else:
            found = common(vm, by)
        if found:
            return found
    return f"{vm.name} alone ({vm.moref})"


def _kept_out(found: Found, rules: Rules, kept_out: Mapping[tuple[str, str], tuple[str, str]]) -> tuple[str, str]:
    vm = found.vm
    for each in rules.leave_out:
        if each.fits(vm, found.vcenter):
            return RULED_OUT, each.why
    if not vm.uuid:
        return UNFIT, f"vSphere cannot read its files ({vm.connection})"
    if vm.connection != "connected":
        return UNFIT, f"vSphere calls it {vm.connection}"
    known = kept_out.get((found.vcenter, vm.moref))
    if known is not None:
        return known
    if len(vm.disks) > rules.waves.oma_disks:
        return UNFIT, f"it has {len(vm.disks)} disks; an OMA takes {rules.waves.oma_disks} (waves.oma_disks)"
    return "", ""


def _candidate(found: Found, rules: Rules) -> Candidate:
    vm = found.vm
    places = [place for place in rules.places if place.fits(vm, found.vcenter)]
    vcenter = _first(places, "vcenter")
    return Candidate(
        name=vm.name,
        vm=vm,
        vcenter=found.vcenter if vcenter is None else vcenter,
        group=group_of(vm, found.vcenter, rules),
        omas=next((place.oma for place in places if place.oma), ("",)),
        networks=_first(places, "networks") or "",
        target=Target(
            zone=_first(places, "zone"),
            service_offering=_first(places, "service_offering"),
            disk_offering=_first(places, "disk_offering"),
        ),
        data=allocated(vm),
        capacity=sum(disk.capacity_bytes for disk in vm.disks),
    )


def _first(places: list[Place], key: str) -> str | None:
    """Return what the first place that says something of a setting says."""
    said: str | None = next((value for place in places if (value := getattr(place, key)) is not None), None)
    return said
