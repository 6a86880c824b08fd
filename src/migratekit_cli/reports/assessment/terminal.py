"""Findings on a terminal: rule by rule, each with its reason and remedy once, and the machines below it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from migratekit_cli.ui import plain
from migratekit_core.services.assessment.rule import Finding, Severity

if TYPE_CHECKING:
    from migratekit_core.services.assessment.assessment import Assessment

COLOURS = {Severity.BLOCKER: "bold red", Severity.WARNING: "bold yellow", Severity.INFO: "bold cyan"}
SHOWN = {Severity.BLOCKER: 20, Severity.WARNING: 20, Severity.INFO: 5}
"""Findings of one rule; thousands of machines would push what matters off the screen."""


def write(assessment: Assessment) -> None:
    """Write the findings to stdout."""
    from rich.padding import Padding
    from rich.text import Text

    console = plain.console()
    groups: defaultdict[str, list[Finding]] = defaultdict(list)
    for found in assessment.findings:
        groups[found.rule].append(found)
    for findings in sorted(groups.values(), key=lambda group: (group[0].severity.rank, group[0].rule)):
        first = findings[0]
        console.print(Text(f"{first.severity.value} {first.rule}: {first.what}", COLOURS[first.severity]))
        console.print(Padding(Text(f"why: {first.why}"), (0, 0, 0, 2)))
        console.print(Padding(Text(f" do: {first.remedy}"), (0, 0, 0, 2)))
        for found in findings[: SHOWN[first.severity]]:
            line = Text.assemble(found.where, ": " if found.where else "", found.message)
            console.print(Padding(line, (0, 0, 0, 4)))
        more = len(findings) - SHOWN[first.severity]
        if more > 0:
            console.print(Padding(Text(f"… and {more} more; piped, or with --output, all are listed"), (0, 0, 0, 4)))
        console.print()
