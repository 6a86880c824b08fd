"""The table of findings, for a terminal, and the lines around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from migratekit_cli.ui.render import Table, count
from migratekit_core.common.units import human_bytes, human_rate, human_seconds
from migratekit_core.services.assessment.commands import CLOUDSTACK, VSPHERE
from migratekit_core.services.assessment.rule import Severity

if TYPE_CHECKING:
    from migratekit_core.services.assessment.access import Access
    from migratekit_core.services.assessment.assessment import Assessment
    from migratekit_core.services.assessment.sizing import Sizing

DAY = 86400.0
"""Seconds."""
BITS, MEGA, GIGA = 8, 10**6, 10**9


def table(assessment: Assessment) -> Table:
    """Return the findings as a table."""
    drawn = Table("SEVERITY", "RULE", "MACHINE", "PART", "FINDING")
    for found in assessment.findings:
        drawn.add(found.severity.value, found.rule, found.vm_path, found.subject, f"{found.what}: {found.message}")
    return drawn


def summary(assessment: Assessment) -> str:
    """Return what was found, in two lines."""
    verdicts = [assessment.verdict(vm) for vm in assessment.machines]
    parts = [count(assessment.count(severity), severity.value) for severity in (Severity.BLOCKER, Severity.WARNING)]
    parts.append(f"{assessment.count(Severity.INFO)} info")
    if assessment.accepted:
        parts.append(f"{len(assessment.accepted)} accepted")
    states = {"ready": "ready", "warnings": "with warnings", "blocked": "blocked"}
    tally = ", ".join(f"{verdicts.count(verdict)} {name}" for verdict, name in states.items())
    return f"{count(len(verdicts), 'machine')}: {tally}\n{', '.join(parts)}"


def sizes(sizing: Sizing) -> str:
    """Return how much there is to move, and how long that takes, in one line."""
    line = f"{human_bytes(sizing.allocated_bytes)} allocated of {human_bytes(sizing.capacity_bytes)}"
    if sizing.at_most:
        line += f" (at most, of {count(sizing.at_most, 'machine')} on vSAN)"
    if sizing.changed_per_second is not None:
        line += f", {human_rate(sizing.changed_per_second)} changed by {count(sizing.measured, 'machine')}"
    if sizing.bandwidth is not None:
        line += f", first sync {duration(sizing.seconds)} at {link(sizing.bandwidth)}"
    return line


def waves(sizing: Sizing) -> Iterator[str]:
    """Yield a line for each wave."""
    for wave in sizing.waves:
        size = f"{human_bytes(wave.allocated_bytes)} of {human_bytes(wave.capacity_bytes)}"
        time = "" if sizing.bandwidth is None else f", first sync {duration(wave.seconds)}"
        yield f"wave {wave.name}: {count(wave.machines, 'machine')}, {size}{time}"


def permissions(accesses: Iterable[Access]) -> Table:
    """Return what each command lacks; `-`: it does not go there."""
    drawn = Table("COMMAND", "VSPHERE", "CLOUDSTACK")
    for each in accesses:
        sides = ((each.vsphere, each.command in VSPHERE), (each.cloudstack, each.command in CLOUDSTACK))
        drawn.add(each.command, *(_lacking(lacks, concerned) for lacks, concerned in sides))
    return drawn


def _lacking(lacks: tuple[str, ...] | None, concerned: bool) -> str:
    if not concerned:
        return "-"
    if lacks is None:
        return "not checked"
    return f"lacks {', '.join(lacks)}" if lacks else "ok"


def duration(seconds: float | None) -> str:
    """Return a duration for people; None is one that never ends."""
    if seconds is None:
        return "never in step"
    if seconds >= DAY:
        return f"{seconds / DAY:.1f} days"
    return human_seconds(seconds).removesuffix(" 0 s").removesuffix(" 0 min")


def link(bandwidth: float) -> str:
    """Return the bandwidth of a link, in bits as networks are called: `200 Mbit/s`."""
    bits = bandwidth * BITS
    unit, name = (GIGA, "Gbit/s") if bits >= GIGA else (MEGA, "Mbit/s")
    return f"{bits / unit:.4g} {name}"


def not_checked(assessment: Assessment, most: int | None = None) -> Iterator[str]:
    """Yield a line for each reason why rules could not be checked; more than `most` of them are only counted."""
    rules: defaultdict[str, list[str]] = defaultdict(list)
    for each in assessment.not_checked:
        rules[each.reason].append(each.rule)
    for reason, ids in rules.items():
        few = most is None or len(ids) <= most
        yield f"{reason}: {', '.join(ids) if few else count(len(ids), 'rule')}"
