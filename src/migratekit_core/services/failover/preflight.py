"""What has to be right before a machine is failed over; every reason is told at once, not the first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from migratekit_core.adapters.cloudstack import guest_os, offerings
from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import VmSpec
from migratekit_core.adapters.cloudstack.offerings import Choice, Size
from migratekit_core.common.hints import Hint, hint, migratekit
from migratekit_core.context import Runtime
from migratekit_core.services.assessment import target as clouds
from migratekit_core.services.failover import facts, machine, outlook
from migratekit_core.services.failover.checks import FAILED, OK, Check, RefusedError, failed, judged
from migratekit_core.services.failover.deploy import attaches, calls
from migratekit_core.services.failover.facts import Case
from migratekit_core.services.failover.outlook import Outlook
from migratekit_core.services.networks import store
from migratekit_core.services.networks.model import join

MAP = hint("map it: ", migratekit("networks", "--set", "SOURCE=TARGET"), ", or --wizard (docs/networks.md)")


@dataclass(frozen=True)
class Target:
    """What a machine will be on the other side."""

    spec: VmSpec
    mappings: dict[str, str]
    """Source network → CloudStack network."""
    offering: str = ""
    os_type: str = ""
    lines: tuple[str, ...] = ()
    """What it will be, for people."""
    notes: tuple[str, ...] = ()
    """What does not come along as it is."""


@dataclass(frozen=True)
class Plan:
    """What a failover or a rehearsal would do."""

    vm_name: str
    destination_name: str
    networks: dict[str, str]
    steps: tuple[str, ...]
    machine: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    """Calls that change something, in their order."""
    outlook: Outlook | None = None
    """Expected downtime; None of a rehearsal, which has none."""
    checks: tuple[Check, ...] = ()

    @property
    def ready(self) -> bool:
        """Return whether nothing stands in the way."""
        return not any(check.state == FAILED for check in self.checks)


@dataclass(frozen=True)
class Examination:
    """Everything that was looked at; `target` is None where too much is missing to say what the machine would be."""

    case: Case
    checks: tuple[Check, ...]
    target: Target | None

    @property
    def refused(self) -> RefusedError | None:
        """Return the error that names every reason, or None where nothing stands in the way."""
        if not any(check.state == FAILED for check in self.checks):
            return None
        what = "rehearsed" if self.case.test else "failed over"
        return RefusedError(f"{self.case.vm.name} cannot be {what}", self.checks)


def check(runtime: Runtime, cloud: Cloud, case: Case, service: Any = None) -> Target:
    """Return the target of a failover. Raises RefusedError with all reasons why there cannot be one; see `examine`."""
    found = examine(runtime, cloud, case, service)
    if found.refused is not None:
        raise found.refused
    assert found.target is not None, "there is a reason where there is none"
    return found.target


def examine(runtime: Runtime, cloud: Cloud, case: Case, service: Any = None) -> Examination:
    """Look at everything a failover needs; nothing is changed. With vSphere's `service` its privileges are asked, too.

    Raises AuthError where CloudStack refuses the keys, UnreachableError where it, or the database, does not answer.
    """
    found = clouds.read_target(runtime.config, cloud)
    if case.adopt:
        # A former run of this failover made a machine of this name: it is no obstacle to itself.
        others = tuple(row for row in found.machines or () if row.get("name") != case.vm_name)
        found = replace(found, machines=others)
    checks = [
        *facts.source(case),
        *facts.replica(runtime, case),
        *facts.infrastructure(runtime, case),
        *facts.by_rules(case, found),
        *facts.former_machine(runtime, case),
        *facts.permissions(case, found, service),
    ]
    cards, card_checks = _cards(runtime, case, found)
    choice, offering_checks = _offering(case, found)
    checks += [*card_checks, *offering_checks, *_template(case, found), *facts.quota(case, found, choice)]
    return Examination(case, tuple(checks), _target(runtime, case, found, cards, choice))


def _cards(runtime: Runtime, case: Case, found: clouds.Target) -> tuple[machine.Cards, list[Check]]:
    if found.networks is None:
        reason = found.missing.get("target.networks", "not known")
        return machine.Cards(), failed(
            "networks", [f"the cloud's networks cannot be read: {reason}"], "allow listNetworks"
        )
    mapping = join(runtime.config.networks.map, store.stored(runtime.databases.oma))
    ground = machine.Ground(mapping, found.networks, found.machines or ())
    settings = runtime.config
    cards = machine.cards(case.vm, ground, settings.networks, settings.failover, test=case.test)
    todo: Hint | str = "set networks.test, or networks.test_map" if case.test else MAP
    return cards, judged("networks", cards.problems, "; ".join(cards.lines), todo)


def _offering(case: Case, found: clouds.Target) -> tuple[Choice | None, list[Check]]:
    need, wanted = Size(case.vm.cpus, case.vm.memory_mib), found.wanted
    rows = found.service_offerings
    if rows is None:
        reason = found.missing.get("target.service_offerings", "not known")
        return None, failed("offering", [f"service offerings cannot be read: {reason}"], "allow listServiceOfferings")
    has = f"the machine has {need.cpus} CPUs and {need.memory} MiB"
    if wanted.service_offering is None:
        smallest = offerings.smallest(rows, need, wanted.cpu_speed)
        if smallest is None:
            return None, failed("offering", [f"no service offering fits: {has}"], "make a custom one in CloudStack")
        return smallest, [Check("offering", OK, f"{_of(smallest)}, the smallest that fits; {has}")]
    todo = "set ossea.service_offering to one that fits, or leave it out: the smallest that fits is taken"
    named = clouds.named(rows, wanted.service_offering)
    if len(named) != 1:
        problem = "is ambiguous" if named else "does not exist"
        known = ", ".join(sorted(str(row.get("name")) for row in rows)) or "none"
        return None, failed(
            "offering", [f"service offering {wanted.service_offering!r} {problem}; there are: {known}"], todo
        )
    choice = offerings.fit(named[0], need, wanted.cpu_speed)
    if isinstance(choice, str):
        return None, failed("offering", [choice], todo)
    return choice, [Check("offering", OK, f"{_of(choice)}; {has}")]


def _of(choice: Choice) -> str:
    return f"{choice.name} with {choice.cpus} CPUs and {choice.memory} MiB"


def _template(case: Case, found: clouds.Target) -> list[Check]:
    """Look at whether there is a template to deploy of."""
    detail = f"from template {found.wanted.template}, whose root disk gives way to the replica's"
    checks = facts.by_rule("deploy", "MK-TGT-004", case, found, OK)
    return [Check("deploy", OK, detail) if check.state == OK else check for check in checks]


def _target(
    runtime: Runtime, case: Case, found: clouds.Target, cards: machine.Cards, choice: Choice | None
) -> Target | None:
    if choice is None or found.zone is None or not cards.nics:
        return None
    vm = case.vm
    models = machine.devices(vm, runtime.config.failover, case.converted)
    system = guest_os.choose(vm, found.os_types or ())
    if system is None:
        reason = found.missing.get("target.os_types", "the cloud has no OS types")
        unknown = f"the OS type stays the template's: {reason}"
    spec = VmSpec(
        name=case.vm_name,
        display_name=f"{vm.name} (rehearsal)" if case.test else vm.name,
        zone_id=str(found.zone["id"]),
        service_offering_id=choice.id,
        nics=cards.nics,
        details={**choice.details, **models.details},
        firmware=vm.firmware,
        secure_boot=vm.secure_boot,
        os_type_id=system.id if system is not None else None,
    )
    boot = ("UEFI with secure boot" if vm.secure_boot else "UEFI") if vm.firmware == "efi" else "BIOS"
    return Target(
        spec=spec,
        mappings=dict(cards.mappings),
        offering=choice.name,
        os_type=system.name if system is not None else "",
        lines=(
            f"offering {_of(choice)}",
            f"OS type {system.name if system is not None else 'as the template'}; {boot}; {models.line}",
            *cards.lines,
        ),
        notes=(
            *cards.notes,
            *models.notes,
            *filter(None, [system.note if system is not None else unknown]),
        ),
    )


def plan(runtime: Runtime, found: Examination, steps: tuple[str, ...]) -> Plan:
    """Return what a failover would do, and how long it would take, whether or not something stands in its way."""
    case, target = found.case, found.target
    capacity, disks = sum(disk.capacity_bytes for disk in case.vm.disks), len(case.vm.disks)
    return Plan(
        vm_name=case.vm.name,
        destination_name=case.vm_name,
        networks=target.mappings if target is not None else {},
        steps=steps,
        machine=target.lines if target is not None else (),
        notes=target.notes if target is not None else (),
        calls=_calls(case, target) if target is not None else (),
        outlook=None if case.test else outlook.look(runtime.databases.oma, case.vm.uuid, case.vm.name, capacity, disks),
        checks=found.checks,
    )


def _calls(case: Case, target: Target) -> tuple[str, ...]:
    disks = len(case.vm.disks)
    made, start = calls(target.spec), (*attaches(disks), "startVirtualMachine")
    if case.test:
        return (f"daemon: snapshot {disks} volumes", f"daemon: make volumes of {disks} snapshots", *made, *start)
    off = ("vSphere: ShutdownGuest",) if case.vm.power != "poweredOff" else ()
    sync = "vSphere: CreateSnapshot_Task, QueryChangedDiskAreas, RemoveSnapshot_Task"
    trial = "daemon: make an empty volume, attach it as device 0, detach and delete it"
    return (*made, trial, *off, sync, f"daemon: detach {disks} volumes from the OMA", *start)
