"""The page of an assessment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from migratekit_cli.reports import pages
from migratekit_cli.reports.assessment import people
from migratekit_cli.reports.charts import Bar, Chart, Part, chart
from migratekit_cli.reports.parts import Cell, Figure, Row, Table, Tile, badge, path
from migratekit_cli.ui.render import count
from migratekit_core.common.units import human_bytes, human_rate
from migratekit_core.services.assessment import sizing as sizes
from migratekit_core.services.assessment.rule import Finding, Severity

if TYPE_CHECKING:
    from migratekit_core.services.assessment.assessment import Assessment
    from migratekit_core.services.assessment.sizing import Sizing

MOST_ROWS = 12
LINKS = {"100 Mbit/s": 12.5e6, "1 Gbit/s": 125e6, "10 Gbit/s": 1250e6}
HEADINGS = {Severity.BLOCKER: "Blockers", Severity.WARNING: "Warnings", Severity.INFO: "Info"}


def document(assessment: Assessment, sizing: Sizing, title: str, made: datetime, version: str) -> str:
    """Return the page."""
    tables = (_findings(severity, assessment.findings) for severity in Severity)
    return pages.render(
        "assessment.html",
        title=title,
        heading=title,
        below=f"{made:%Y-%m-%d %H:%M} · migratekit {version}",
        tiles=_tiles(assessment, sizing),
        charts=[
            Figure("Machines", _verdicts(assessment)),
            Figure(
                f"Data, by {sizing.waves_by}",
                _waves(sizing),
                "Dark: allocated, what the first sync reads. Light: capacity.",
            ),
            Figure("First sync of everything", _durations(sizing), _assumptions(sizing)),
        ],
        found=Figure("What is found, the worst first", _rules(assessment)),
        tables=[_machines(assessment, sizing), *(table for table in tables if table.rows)],
        besides=_besides(assessment),
    )


def _tiles(assessment: Assessment, sizing: Sizing) -> list[Tile]:
    verdicts = Counter(assessment.verdict(vm) for vm in assessment.machines)
    tiles = [
        Tile("machines", str(len(assessment.machines))),
        Tile("ready", str(verdicts["ready"]), "ok"),
        Tile("with warnings", str(verdicts["warnings"]), "warning"),
        Tile("blocked", str(verdicts["blocked"]), "blocker"),
        Tile("allocated, at most" if sizing.at_most else "allocated", human_bytes(sizing.allocated_bytes)),
        Tile("capacity", human_bytes(sizing.capacity_bytes)),
    ]
    if sizing.changed_per_second is not None:
        tiles.append(Tile(f"changed, {sizing.measured} machines", human_rate(sizing.changed_per_second)))
    if sizing.bandwidth is not None:
        tiles.append(Tile(f"first sync at {people.link(sizing.bandwidth)}", people.duration(sizing.seconds)))
    return tiles


def _verdicts(assessment: Assessment) -> Chart:
    verdicts = Counter(assessment.verdict(vm) for vm in assessment.machines)
    rows = (("ready", "ready", "ok"), ("with warnings", "warnings", "warning"), ("blocked", "blocked", "blocker"))
    return chart(
        "Machines by verdict",
        [Bar(name, (Part(verdicts[verdict], kind),), str(verdicts[verdict])) for name, verdict, kind in rows],
    )


def _rules(assessment: Assessment) -> Chart:
    number_of = Counter(
        (found.severity.rank, found.rule, found.what, found.severity.value) for found in assessment.findings
    )
    worst = sorted(number_of.items(), key=lambda item: (item[0][0], -item[1], item[0][1]))[:MOST_ROWS]
    return chart(
        "Findings by rule",
        [Bar(f"{rule} {what}", (Part(number, kind),), str(number)) for (_, rule, what, kind), number in worst],
    )


def _waves(sizing: Sizing) -> Chart:
    largest = sorted(sizing.waves, key=lambda wave: -wave.capacity_bytes)[:MOST_ROWS]
    bars = []
    for wave in largest:
        rest = wave.capacity_bytes - wave.allocated_bytes
        parts = (Part(wave.allocated_bytes, "data"), Part(rest, "capacity"))
        figures = (
            f"{count(wave.machines, 'VM')} · {human_bytes(wave.allocated_bytes)} of {human_bytes(wave.capacity_bytes)}"
        )
        if sizing.bandwidth is not None:
            figures += f" · {people.duration(wave.seconds)}"
        bars.append(Bar(wave.name or "/", parts, figures))
    return chart("Allocated and capacity by wave", bars)


def _durations(sizing: Sizing) -> Chart:
    links = dict(LINKS)
    if sizing.bandwidth and sizing.bandwidth not in links.values():
        links[f"{people.link(sizing.bandwidth)} (--bandwidth)"] = sizing.bandwidth
    bars = []
    for name, rate in sorted(links.items(), key=lambda link: link[1]):
        seconds = sizes.first_sync(sizing.allocated_bytes, rate, sizing.changed_per_second)
        kind = "chosen" if rate == sizing.bandwidth else "data"
        bars.append(Bar(name, (Part(seconds or 0.0, kind),), people.duration(seconds)))
    return chart("Time of the first sync by bandwidth", bars)


def _assumptions(sizing: Sizing) -> str:
    rate = "not measured" if sizing.changed_per_second is None else human_rate(sizing.changed_per_second)
    return (
        f"Estimates: {sizes.EFFICIENCY:.0%} of the bandwidth is of use; changed meanwhile: {rate}. "
        f"Downtime: {people.duration(sizes.CUTOVER_SECONDS)} for shutdown and start, and what changed in "
        f"{people.duration(sizes.LAST_INTERVAL_SECONDS)}."
    )


def _machines(assessment: Assessment, sizing: Sizing) -> Table:
    found_on = Counter((found.vm_path, found.severity) for found in assessment.findings)
    rows: list[Row] = []
    order = ("blocked", "warnings", "ready")
    pairs = zip(assessment.machines, sizing.machines, strict=True)
    for vm, each in sorted(pairs, key=lambda pair: (order.index(assessment.verdict(pair[0])), pair[0].path)):
        verdict = assessment.verdict(vm)
        kind = {"blocked": "blocker", "warnings": "warning"}.get(verdict, "ok")
        cells: Row = [
            path(vm.path),
            badge(verdict, kind),
            str(found_on[vm.path, Severity.BLOCKER]),
            str(found_on[vm.path, Severity.WARNING]),
            ("at most " if each.at_most else "") + human_bytes(each.allocated_bytes),
            human_bytes(each.capacity_bytes),
            "" if each.changed_per_second is None else human_rate(each.changed_per_second),
            "" if sizing.bandwidth is None else people.duration(each.first_sync_seconds),
            "" if each.downtime_seconds is None else people.duration(each.downtime_seconds),
        ]
        rows.append(cells)
    head = ("Machine", "Verdict", "Blockers", "Warnings", "Allocated", "Capacity", "Changed", "First sync", "Downtime")
    return Table("Machines", head, rows, short=True)


def _findings(severity: Severity, findings: Iterable[Finding]) -> Table:
    rows: list[Row] = [
        [path(found.where or "site"), found.rule, Cell(found.message, lead=found.what), str(found.remedy)]
        for found in findings
        if found.severity is severity
    ]
    heading = f"{HEADINGS[severity]} ({len(rows)})"
    return Table(heading, ("Where", "Rule", "Finding", "What to do"), rows, folded=severity is Severity.INFO)


def _besides(assessment: Assessment) -> list[str]:
    lines = [f"not checked: {line}" for line in people.not_checked(assessment)]
    if assessment.accepted:
        lines.insert(0, f"accepted by the baseline: {len(assessment.accepted)} findings")
    return lines
