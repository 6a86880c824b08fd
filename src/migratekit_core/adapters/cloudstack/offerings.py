"""Service offerings: which one gives a machine what it has now, and what it has to be told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from migratekit_core.adapters.cloudstack.limits import LEAST_MEMORY

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Size:
    """What a machine needs: CPUs, and memory in MiB."""

    cpus: int
    memory: int


@dataclass(frozen=True)
class Choice:
    """An offering that fits, and what the machine gets with it."""

    id: str
    name: str
    cpus: int
    memory: int
    """MiB."""
    details: dict[str, str] = field(default_factory=dict)
    """What deployVirtualMachine has to be told: an offering says itself what it leaves open."""


def fit(offering: Row, need: Size, cpu_speed: int) -> Choice | str:
    """Return how an offering serves a machine, or why it does not.

    A custom offering leaves CPUs, speed or memory open, each by itself: what it leaves open has to be given, what it
    fixes must not be. A constrained one has bounds (`serviceofferingdetails`); below the lower bound the machine gets
    the bound. `cpu_speed` in MHz is for offerings that leave the speed open.
    """
    name = str(offering.get("name"))
    if need.memory < LEAST_MEMORY:
        return f"the machine has {need.memory} MiB of memory, and CloudStack gives none less than {LEAST_MEMORY}"
    bounds: Row = offering.get("serviceofferingdetails") or {}
    details: dict[str, str] = {}
    got: dict[str, int] = {}
    problems = []
    for what, key, unit, wanted in (
        ("cpunumber", "cpuNumber", "CPUs", need.cpus),
        ("memory", "memory", "MiB", need.memory),
    ):
        fixed = offering.get(what)
        if fixed is not None and not (offering.get("iscustomized") and not int(fixed)):
            got[what] = int(fixed)
            if int(fixed) < wanted:
                problems.append(f"has {int(fixed)} {unit}, the machine {wanted}")
            continue
        low, high = int(bounds.get(f"min{what}") or 0), int(bounds.get(f"max{what}") or 0)
        got[what] = max(wanted, low)
        details[key] = str(got[what])
        if high and wanted > high:
            problems.append(f"goes up to {high} {unit}, the machine has {wanted}")
    if problems:
        return f"service offering {name!r} {' and '.join(problems)}"
    if offering.get("iscustomized") and not offering.get("cpuspeed"):
        details["cpuSpeed"] = str(cpu_speed)
    return Choice(str(offering.get("id")), name, got["cpunumber"], got["memory"], details)


def smallest(offerings: Iterable[Row], need: Size, cpu_speed: int) -> Choice | None:
    """Return the offering that fits with the least to spare, or None.

    Memory counts first, then CPUs; of two that give the same, a fixed one is taken before a custom one. Left out is
    what an administrator has set aside: offerings for certain hosts or storage, for local storage, for system machines.
    """
    fitting = []
    for offering in offerings:
        if not _for_everyone(offering):
            continue
        choice = fit(offering, need, cpu_speed)
        if isinstance(choice, Choice):
            fitting.append((choice.memory, choice.cpus, len(choice.details), choice.name, choice.id, choice))
    return min(fitting)[-1] if fitting else None


def _for_everyone(offering: Row) -> bool:
    reserved = ("hosttags", "storagetags", "deploymentplanner", "gpucardid", "vgpuprofileid")
    return (
        str(offering.get("state") or "Active") == "Active"
        and not offering.get("issystem")
        and not offering.get("isvolatile")
        and offering.get("storagetype", "shared") == "shared"
        and not any(offering.get(key) for key in reserved)
        and not (offering.get("serviceofferingdetails") or {}).get("pciDevice")
    )
