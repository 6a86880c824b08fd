"""Markdown, for a merge request's comment or a job's summary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migratekit_cli.reports.assessment import people
from migratekit_core.common.visible import one_line
from migratekit_core.services.assessment.rule import Severity

if TYPE_CHECKING:
    from migratekit_core.services.assessment.assessment import Assessment

_MARKUP = frozenset("\\`*_[]>|~")
_ENTITIES = {"<": "&lt;", "&": "&amp;", "@": "&#64;", "#": "&#35;", ":": "&#58;"}
"""What makes HTML, mentions, references to issues, and links of an address alone (`https:`)."""
HEADINGS = {Severity.BLOCKER: "Blockers", Severity.WARNING: "Warnings", Severity.INFO: "Info"}


def document(assessment: Assessment) -> str:
    """Return the report."""
    tally, found = people.summary(assessment).split("\n")
    lines = ["# Assessment", "", f"**{tally}**", "", f"{found}.", ""]
    for severity, heading in HEADINGS.items():
        findings = [each for each in assessment.findings if each.severity is severity]
        if not findings:
            continue
        lines += [f"## {heading}", "", "| Machine | Rule | Finding | What to do |", "|---|---|---|---|"]
        for each in findings:
            cells = (each.where or "site", each.rule, f"{each.what}: {each.message}", str(each.remedy))
            lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
        lines.append("")
    if assessment.not_checked:
        lines += ["## Not checked", ""]
        lines += [f"- {_cell(line)}" for line in people.not_checked(assessment)]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Return text that stays within its cell and is no markup, no link and no mention: names come from vCenter, not
    from us."""
    return "".join(_ENTITIES.get(each) or (f"\\{each}" if each in _MARKUP else each) for each in one_line(text))
