"""The report of a wave as one HTML file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from migratekit_cli.commands.wave import waveplan
from migratekit_cli.reports import pages
from migratekit_cli.reports.charts import Bar, Column, Part, chart, columns
from migratekit_cli.reports.parts import Cell, Figure, Row, Table, Tile, badge, code
from migratekit_core.common.units import human_bytes, human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.waves.look import Attempt, MachineState
    from migratekit_core.services.waves.report import WaveReport

MOST_ROWS = 60
"""Machines in the timeline: those that took longest."""
LONGEST_NAME = 36
"""Beside the figures of a row of the timeline."""
KINDS = {
    "replicated": "ok", "rehearsed": "ok", "cut-over": "ok", "completed": "ok", "done": "ok", "failed": "blocker",
    "running": "info", "waiting": "info", "planned": "info",
}  # fmt: skip
TASKS = {"replicate": "data", "rehearse": "info", "cutover": "ok", "rollback": "warning"}
STATES = ("cut-over", "rehearsed", "replicated", "running", "waiting", "failed", "skipped", "rolled-back", "cancelled")


def document(report: WaveReport, made: datetime, version: str) -> str:
    """Return the page."""
    wave = report.wave
    failures, attempts = _failures(report), _attempts(report)
    return pages.render(
        "wave.html",
        title=f"Wave {wave.name}: report",
        heading=f"Wave {wave.name}",
        below=f"Wave report · {made:%Y-%m-%d %H:%M} · migratekit {version} · times are UTC",
        tiles=_tiles(report),
        plan=waveplan.about(wave),
        failures=[failures] if failures.rows else [],
        charts=[*_throughput(report), *_timeline(report)],
        tables=[_machines(report), *([attempts] if attempts.rows else [])],
    )


def _tiles(report: WaveReport) -> Iterator[Tile]:
    from migratekit_core.services.waves.view import overview

    view = overview(report.seen)
    stored = report.seen.wave
    yield Tile("status", stored.status, KINDS.get(stored.status, "warning"))
    yield Tile("machines", str(len(report.seen.machines)))
    for state in STATES:
        if report.seen.counts[state]:
            yield Tile(state, str(report.seen.counts[state]), KINDS.get(state, "warning"))
    yield Tile("copied", human_bytes(report.copied))
    if report.rate is not None:
        yield Tile("throughput, on average", human_rate(report.rate))
    if view.seconds is not None:
        planned = f", planned {human_seconds(report.wave.estimate.seconds)}" if report.wave.estimate else ""
        yield Tile(f"from begin to end{planned}", human_seconds(view.seconds))
    away = [
        float(each.result["downtime_seconds"]) for each in report.seen.machines if each.result.get("downtime_seconds")
    ]
    if away:
        yield Tile("longest downtime", human_seconds(max(away)))
    lost = sum(each.outcome == "lost" for each in report.attempts)
    if lost:
        yield Tile("attempts lost with their workers", str(lost), "warning")


def _failures(report: WaveReport) -> Table:
    rows: list[Row] = [
        [
            each.name,
            _badge(each.state),
            each.task or "",
            str(each.attempts),
            each.error.what,
            each.error.why,
            str(each.error.todo),
        ]
        for each in report.seen.machines
        if each.error is not None
    ]
    head = ("Machine", "State", "Task", "Attempts", "What", "Why", "What to do")
    return Table(f"Needs somebody ({len(rows)})", head, rows)


def _throughput(report: WaveReport) -> Iterator[Figure]:
    moments = report.throughput
    if not moments:
        return
    begin, end = moments[0].at, moments[-1].at
    labels = (f"{begin:%m-%d %H:%M:%S}", f"{end:%m-%d %H:%M:%S}")
    rates = [Column(each.rate, "data") for each in moments]
    highest = human_rate(max(each.rate for each in moments))
    yield Figure("Throughput over time", columns("Throughput over time", rates, highest, labels),
                 "All copies together. Each counts evenly from its begin to its end.")  # fmt: skip
    busy = [Column(each.copies, "info") for each in moments]
    most = f"{max(each.copies for each in moments):.1f} copies"
    yield Figure(
        "Copies at a time", columns("Copies at a time", busy, most, labels), "On average, in each piece of time."
    )


def _timeline(report: WaveReport) -> Iterator[Figure]:
    tries: dict[str, list[Attempt]] = defaultdict(list)
    for each in report.attempts:
        tries[each.vm_id].append(each)
    if not tries:
        return
    began = min(each.started_at for each in report.attempts)
    now = report.seen.now

    def took(machine: MachineState) -> float:
        mine = tries[machine.vm_id]
        return sum(((each.ended_at or now) - each.started_at).total_seconds() for each in mine)

    worked = [each for each in report.seen.machines if tries.get(each.vm_id)]
    shown = sorted(worked, key=took, reverse=True)[:MOST_ROWS]
    rows = [
        _row(each, tries[each.vm_id], began, now, took(each)) for each in sorted(shown, key=lambda one: one.position)
    ]
    note = "Dark blue: copied, blue: rehearsed, green: cut over, orange: rolled back or lost, red: failed."
    if len(shown) < len(worked):
        note += f" The {len(shown)} of {len(worked)} machines that took longest."
    yield Figure("Machines in time", chart("Machines in time", rows), note)


def _row(machine: MachineState, tries: Sequence[Attempt], began: datetime, now: datetime, took: float) -> Bar:
    parts = []
    at = began
    for each in tries:
        parts.append(Part(max((each.started_at - at).total_seconds(), 0.0), "ground"))
        at = each.ended_at or now
        kind = {"failed": "blocker", "lost": "warning", "cancelled": "warning"}.get(each.outcome or "")
        parts.append(Part(max((at - each.started_at).total_seconds(), 1e-3), kind or TASKS.get(each.task, "data")))
    name = machine.name if len(machine.name) <= LONGEST_NAME else f"{machine.name[: LONGEST_NAME - 1]}…"
    return Bar(name, tuple(parts), f"{human_seconds(took)}, {machine.state}")


def _machines(report: WaveReport) -> Table:
    copies: dict[str, Attempt] = {
        each.vm_id: each for each in report.attempts if each.task == "replicate" and each.outcome == "done"
    }
    rows: list[Row] = []
    for each in report.seen.machines:
        planned = report.wave.machine(each.vm_id)
        copy = copies.get(each.vm_id)
        seconds = (copy.ended_at - copy.started_at).total_seconds() if copy and copy.ended_at else None
        away = each.result.get("downtime_seconds")
        rows.append(
            [
                each.name,
                _badge(each.state),
                f"{each.group}, {each.stage}" if each.group else str(each.stage),
                ", ".join(filter(None, (each.vcenter, each.host))),
                ", ".join(filter(None, (each.oma, planned.target.zone))),
                _copy(copy, seconds) if copy is not None else human_bytes(each.bytes_done),
                human_seconds(float(away)) if away else "",
                str(each.attempts),
                code((each.job_id or "")[:8]),
            ]
        )
    head = ("Machine", "State", "Group, stage", "From", "To", "Copied", "Downtime", "Tries", "Job")
    return Table(f"Machines ({len(rows)})", head, rows, short=True)


def _copy(copy: Attempt, seconds: float | None) -> str:
    if not seconds:
        return human_bytes(copy.bytes_done)
    return f"{human_bytes(copy.bytes_done)} in {human_seconds(seconds)}, {human_rate(copy.bytes_done / seconds)}"


def _attempts(report: WaveReport) -> Table:
    rows: list[Row] = [
        [
            each.name,
            _badge(each.outcome or "running"),
            f"{each.task}, {each.number}",
            f"{each.started_at:%Y-%m-%d %H:%M:%S}",
            human_seconds((each.ended_at - each.started_at).total_seconds()) if each.ended_at else "",
            human_bytes(each.bytes_done) if each.task == "replicate" else "",
            each.worker,
            code((each.job_id or "")[:8]),
            f"{each.error.what}: {each.error.why}" if each.error else "",
        ]
        for each in report.attempts
    ]
    head = ("Machine", "Outcome", "Task, attempt", "Began", "Took", "Copied", "Worker", "Job", "Error")
    return Table(f"Attempts ({len(rows)})", head, rows, short=True, folded=True)


def _badge(status: str) -> Cell:
    return badge(status, KINDS.get(status, "warning"))
