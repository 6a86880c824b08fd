"""Runs the rules over a site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import migratekit_core.services.assessment.rules  # noqa: F401 (fills RULES)
from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.services.assessment.rule import RULES, Finding, Rule, Severity, finding
from migratekit_core.services.assessment.site import Site

KNOWN_WITHOUT_CONFIGURATION = ("STATE", "NAME", "PLACE")
"""Topics of what vCenter knows of a machine whose files it cannot read. Others would report disks as missing."""


@dataclass(frozen=True)
class NotChecked:
    """A rule that could not be checked, and why."""

    rule: str
    what: str
    reason: str


@dataclass(frozen=True)
class Assessment:
    """What was found."""

    machines: tuple[VirtualMachine, ...]
    findings: tuple[Finding, ...]
    """The worst first, then by machine."""
    not_checked: tuple[NotChecked, ...]
    accepted: tuple[Finding, ...] = ()
    """Those that the baseline accepts."""

    def count(self, severity: Severity) -> int:
        """Return how many findings have this severity."""
        return sum(found.severity is severity for found in self.findings)

    def fails(self, fail_on: Severity) -> bool:
        """Return whether there is a finding as bad as `fail_on`, or worse."""
        return any(found.severity.rank <= fail_on.rank for found in self.findings)

    def verdict(self, vm: VirtualMachine) -> str:
        """Return blocker, warning or ready: what keeps a machine from being moved."""
        return {0: "blocked", 1: "warnings"}.get(self._worst.get((vm.path, vm.uuid), 9), "ready")

    @cached_property
    def _worst(self) -> Mapping[tuple[str, str], int]:
        """Return the rank of the worst finding of each machine, by path and uuid."""
        worst: dict[tuple[str, str], int] = {}
        for found in self.findings:
            key = (found.vm_path, found.vm_uuid)
            worst[key] = min(worst.get(key, found.severity.rank), found.severity.rank)
        return worst


def all_rules() -> tuple[Rule, ...]:
    """Return every rule, by id."""
    return tuple(RULES[key] for key in sorted(RULES))


def assess(site: Site) -> Assessment:
    """Return what the rules find; a rule whose facts are missing is named in `not_checked`."""
    findings: list[Finding] = []
    not_checked = []
    for rule in all_rules():
        reason = next(filter(None, (site.lacks(name) for name in rule.needs)), "")
        if reason:
            not_checked.append(NotChecked(rule.id, rule.what, reason))
        elif rule.site_check is not None:
            findings += [finding(rule, hit, None) for hit in rule.site_check(site)]
        elif rule.machine_check is not None:
            machines = (vm for vm in site.chosen if vm.readable or rule.topic in KNOWN_WITHOUT_CONFIGURATION)
            findings += [finding(rule, hit, vm) for vm in machines for hit in rule.machine_check(vm, site)]
    findings.sort(key=lambda found: (found.severity.rank, found.vm_path, found.rule, found.subject))
    return Assessment(site.chosen, tuple(findings), tuple(not_checked))
