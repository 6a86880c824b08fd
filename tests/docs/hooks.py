"""What mkdocs asks before it builds: where each page stands, and what becomes of links that leave docs/.

A page that the table does not know is put under "More", so that a new page never breaks the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
LINK = re.compile(r"(!?)\[([^\]]+)\]\((\.\./[^)#\s]+)(#[^)\s]*)?\)")

SECTIONS: dict[str, dict[str, str]] = {
    "Tutorial": {
        "tutorial.md": "A whole migration in the lab",
        "lab.md": "The lab, and how to break it",
    },
    "How-to": {
        "setup-oma.md": "Set up OMA and VMA",
        "package.md": "Install the package",
        "first-migration.md": "The first migration",
        "discover.md": "Look at the source",
        "assess.md": "Assess machines",
        "networks.md": "Map networks",
        "cron.md": "Replicate from cron",
        "ci.md": "Assess in CI",
        "wan.md": "Over a slow link",
        "tunnel.md": "The tunnel",
        "vddk.md": "With VDDK",
        "without-vddk.md": "Without VDDK",
        "windows.md": "Windows guests",
        "conversion.md": "Convert guests",
        "failover.md": "Fail over",
        "rehearsal.md": "Rehearse",
        "boot-check.md": "Check that it boots",
        "rollback.md": "Go back",
        "doctor.md": "Ask the doctor",
        "jobs.md": "Watch jobs",
        "report.md": "Report a migration",
        "metrics.md": "Metrics",
        "fleet.md": "A fleet in waves",
        "waves.md": "Waves",
    },
    "Reference": {
        "cli.md": "Commands",
        "configuration.md": "Configuration",
        "exit-codes.md": "Exit codes and errors",
        "json.md": "JSON documents",
        "events.md": "Events of jobs",
        "rules.md": "Rules of assess",
        "permissions.md": "Permissions",
        "readers.md": "Source readers",
        "api.md": "The volume daemon's API",
        "database.md": "Database",
        "changelog.md": "Changelog",
    },
    "Explanation": {
        "architecture.md": "Architecture",
        "invariants.md": "Invariants",
        "security.md": "Security model",
        "performance.md": "Performance",
        "saga.md": "The saga of a failover",
        "fleet-design.md": "The fleet: why it is so",
        "comparison.md": "Other tools",
    },
    "Runbook": {
        "runbook.md": "By kind of error",
        "troubleshooting.md": "By code",
    },
    "Contributing": {
        "contributing.md": "Contributing",
    },
}
MORE = "More"


def navigation(pages: set[str]) -> list[Any]:
    """Return mkdocs' nav of the pages that there are."""
    nav: list[Any] = [{"Home": "index.md"}]
    known = {"index.md"}
    for section, entries in SECTIONS.items():
        there = [{title: page} for page, title in entries.items() if page in pages]
        known |= set(entries)
        if there:
            nav.append({section: there})
    others = sorted(pages - known)
    return [*nav, {MORE: others}] if others else nav


def on_config(config: Any) -> Any:
    """Give mkdocs the navigation."""
    config["nav"] = navigation({path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Have links that leave docs/, which only a checkout can follow, name the file instead."""

    def named(match: re.Match[str]) -> str:
        target = match[3].removeprefix("../")
        if not (DOCS.parent / target).exists():
            raise FileNotFoundError(f"a link leads to {match[3]}, which does not exist")
        return f"{match[2]} (`{target}`)" if match[2] != target else f"`{target}`"

    return LINK.sub(named, markdown)
