"""What a rule is, and what it finds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from migratekit_core.adapters.vsphere.inventory import VirtualMachine
from migratekit_core.common.hints import Hint
from migratekit_core.services.assessment.site import Site

OTHER_READERS = "or read it over NFC (source.reader) or through VDDK (source.vddk): docs/readers.md."
"""What the remedy of a rule says that is about what readers of flat files do not read."""


class Severity(StrEnum):
    """How much a finding matters."""

    BLOCKER = "blocker"
    """The migration fails, or is wrong, until this is mended."""
    WARNING = "warning"
    """The migration works, but something has to be decided or done by hand."""
    INFO = "info"
    """Good to know."""

    @property
    def rank(self) -> int:
        """Return 0 for the worst."""
        return list(Severity).index(self)


@dataclass(frozen=True)
class Hit:
    """One thing that a rule found."""

    message: str
    """What it found, with names and figures, as one sentence without a full stop."""
    subject: str = ""
    """The part that it is about, such as `Hard disk 2`; "" for the machine or the site as a whole."""


MachineCheck = Callable[[VirtualMachine, Site], Iterable[Hit]]
SiteCheck = Callable[[Site], Iterable[Hit]]


@dataclass(frozen=True)
class Rule:
    """A rule. The texts go to reports and to docs/rules.md as they are."""

    id: str
    """MK-TOPIC-NNN. Never given to another rule, for baselines name it."""
    severity: Severity
    what: str
    why: str
    remedy: Hint | str
    needs: tuple[str, ...]
    """Facts of the site (dotted names) without which it cannot be checked."""
    machine_check: MachineCheck | None = None
    site_check: SiteCheck | None = None

    @property
    def topic(self) -> str:
        """Return the middle of the id."""
        return self.id.split("-")[1]


@dataclass(frozen=True)
class Finding:
    """A hit of a rule on a machine, or on the site (`vm` is "")."""

    rule: str
    severity: Severity
    what: str
    vm: str
    vm_uuid: str
    vm_path: str
    subject: str
    message: str
    why: str
    remedy: Hint | str

    @property
    def fingerprint(self) -> str:
        """Return what stays the same from run to run: rule, machine and part, but not the figures of the message."""
        key = "\0".join((self.rule, self.vm_uuid or self.vm_path, self.subject))
        return hashlib.sha256(key.encode()).hexdigest()[:16]

    @property
    def where(self) -> str:
        """Return machine and part for people."""
        return ", ".join(filter(None, (self.vm_path or self.vm, self.subject)))


RULES: dict[str, Rule] = {}
"""All rules by id, filled as the modules of `rules/` are imported."""


def machine_rule(
    rule_id: str, severity: Severity, what: str, *, why: str, remedy: Hint | str, needs: tuple[str, ...] = ()
) -> Callable[[MachineCheck], MachineCheck]:
    """Make a rule of a function that looks at one machine."""

    def register(check: MachineCheck) -> MachineCheck:
        _add(Rule(rule_id, severity, what, why, remedy, needs, machine_check=check))
        return check

    return register


def site_rule(
    rule_id: str, severity: Severity, what: str, *, why: str, remedy: Hint | str, needs: tuple[str, ...] = ()
) -> Callable[[SiteCheck], SiteCheck]:
    """Make a rule of a function that looks at the whole: permissions, the target's room."""

    def register(check: SiteCheck) -> SiteCheck:
        _add(Rule(rule_id, severity, what, why, remedy, needs, site_check=check))
        return check

    return register


def _add(rule: Rule) -> None:
    assert rule.id not in RULES, f"two rules have the id {rule.id}"
    RULES[rule.id] = rule


def finding(rule: Rule, hit: Hit, vm: VirtualMachine | None) -> Finding:
    """Return the finding of a hit."""
    machine: dict[str, Any] = {"vm": "", "vm_uuid": "", "vm_path": ""}
    if vm is not None:
        machine = {"vm": vm.name, "vm_uuid": vm.uuid, "vm_path": vm.path}
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        what=rule.what,
        subject=hit.subject,
        message=hit.message,
        why=rule.why,
        remedy=rule.remedy,
        **machine,
    )
