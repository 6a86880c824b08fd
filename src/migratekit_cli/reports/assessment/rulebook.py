"""The rules themselves: as a table, as JSON, and as docs/rules.md."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from migratekit_cli.ui.render import Table
from migratekit_core.services.assessment.rule import Rule

TOPICS = {
    "CBT": "Changed-block tracking",
    "CPU": "CPU",
    "DEV": "Devices and firmware",
    "DISK": "Disks",
    "GUEST": "Guest system",
    "MEM": "Memory",
    "NAME": "Names",
    "NET": "Networks",
    "PERM": "Permissions",
    "PLACE": "Placement",
    "SNAP": "Snapshots",
    "STATE": "State",
    "STORE": "Datastores",
    "TGT": "Target",
}

HEAD = """\
# Rules of assess

Made by `migratekit assess --rules --output markdown`; a test checks that this page is up to date.
An id is never given to another rule. What can be had only with a connection or a setting is in *needs*; a rule that
could not be checked is named in the output, with the reason.

- **blocker**: the migration fails, or is wrong, until this is mended. `assess` ends with 3.
- **warning**: it works, but something has to be decided or done by hand. 3 with `--fail-on warning`.
- **info**: good to know.
"""

NEEDS = {"target": "`--target`", "network_map": "`[networks]`", "privileges": "vSphere (not `--offline`)"}


def table(rules: Iterable[Rule]) -> Table:
    """Return the rules as a table."""
    drawn = Table("RULE", "SEVERITY", "WHAT", "REMEDY")
    for rule in rules:
        drawn.add(rule.id, rule.severity.value, rule.what, rule.remedy)
    return drawn


def document(rules: Iterable[Rule]) -> dict[str, Any]:
    """Return the rules as JSON has them."""
    return {
        "rules": [
            {
                "id": rule.id,
                "severity": rule.severity.value,
                "what": rule.what,
                "why": rule.why,
                "remedy": str(rule.remedy),
                "needs": list(rule.needs),
            }
            for rule in rules
        ]
    }


def page(rules: Iterable[Rule]) -> str:
    """Return docs/rules.md."""
    rules = tuple(rules)
    lines = [HEAD, f"{len(rules)} rules.\n"]
    for topic, members in groupby(rules, key=lambda rule: rule.topic):
        lines.append(f"## {TOPICS[topic]}\n")
        for rule in members:
            needs = ", ".join(dict.fromkeys(NEEDS[need.partition(".")[0]] for need in rule.needs))
            lines.append(f"### {rule.id}: {rule.what}\n")
            lines.append(f"**{rule.severity.value}**" + (f" · needs {needs}" if needs else "") + "\n")
            lines.append(f"{rule.why}\n\n*Remedy:* {rule.remedy}\n")
    return "\n".join(lines)
