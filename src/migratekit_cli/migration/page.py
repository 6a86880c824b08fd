"""A report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from migratekit_cli.assessment.page import figure, header, page, section, table, tile_row
from migratekit_cli.assessment.svg import Bar, Part, chart
from migratekit_core.common.units import human_bytes, human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.joblog.search import Found
    from migratekit_core.services.reports.model import Cutover, Report, Sync

MOST_BARS = 24
"""Syncs in one chart, the newest: more would be a long way to scroll."""
MOST_TIMELINES = 6
COLOURS = "Green: full, blue: incremental."
KINDS = {"completed": "ok", "identical": "ok", "failed": "blocker", "different": "blocker", "running": "info"}


def document(report: Report, made: datetime, version: str) -> str:
    """Return the page."""
    body = [
        header(report.title, f"Migration report · {made:%Y-%m-%d %H:%M} · migratekit {version} · times are UTC"),
        tile_row(_tiles(report)),
        _source(report),
        '<div class="charts">',
        *_sync_charts(report.syncs),
        "</div>",
        _timelines(report),
        _cutovers(report),
        _verifications(report),
        _networks(report),
        _made(report),
        _syncs(report),
        _jobs(report),
    ]
    return page(f"{report.title}: migration report", "".join(body))


def _tiles(report: Report) -> Iterator[tuple[str, str, str]]:
    done = [sync for sync in report.syncs if sync.status == "completed"]
    yield "syncs completed", str(len(done)), ""
    yield "moved in all", human_bytes(sum(sync.moved for sync in report.syncs)), ""
    if done:
        last = done[-1]
        yield f"last sync, {last.kind}", human_bytes(last.moved), ""
        if last.started is not None:
            yield f"replica holds, {last.started:%Y-%m-%d}", f"{last.started:%H:%M}", ""
    checks = [disk.result for each in report.verified[-1:] for disk in each.disks]
    if checks:
        same = all(result == "identical" for result in checks)
        yield "last verification", "identical" if same else "different", "ok" if same else "blocker"
    for cutover in report.cutovers[-1:]:
        kind = "failover" if cutover.kind == "live" else "rehearsal"
        yield f"last {kind}", cutover.status.replace("_", " "), KINDS.get(cutover.status, "")
    away = [each.downtime for each in report.cutovers if each.downtime is not None]
    if away:
        yield "downtime", human_seconds(away[-1]), ""
    failed = sum(found.job.status == "failed" for found in report.jobs)
    if failed:
        yield "jobs failed", str(failed), "warning"


def _source(report: Report) -> str:
    machine = report.machine
    if machine is None:
        return ""
    rows = [[escape(machine.path), escape(machine.uuid), escape(f"{machine.vcenter}, {machine.datacenter}")]]
    return section("Source", table(("Path", "instanceUuid", "vCenter"), rows))


def _sync_charts(syncs: tuple[Sync, ...]) -> Iterator[str]:
    newest = [sync for sync in syncs if sync.started is not None][-MOST_BARS:]
    if not newest:
        return
    left_out = len(syncs) - len(newest)
    note = f"The newest {len(newest)} of {len(syncs)} syncs." if left_out else ""
    rates = [
        Bar(_label(sync), (Part(sync.rate or 0.0, _kind(sync)),), human_rate(sync.rate) if sync.rate else "")
        for sync in newest
    ]
    yield figure(
        "Throughput by sync",
        chart("Throughput by sync", rates),
        f"{COLOURS} Over the whole sync, with all around the copy. {note}".strip(),
    )
    sizes = [
        Bar(
            _label(sync),
            (Part(sync.moved, _kind(sync)), Part(max(sync.changed - sync.moved, 0), "capacity")),
            f"{human_bytes(sync.moved)} of {human_bytes(sync.changed)}",
        )
        for sync in newest
    ]
    text = f"{COLOURS} Light: named by vSphere as changed, but zeros or not moved."
    yield figure("Changed bytes by sync", chart("Changed bytes by sync", sizes), f"{text} {note}".strip())


def _label(sync: Sync) -> str:
    return f"{sync.started:%m-%d %H:%M:%S} {sync.kind}" + ("" if sync.status == "completed" else f", {sync.status}")


def _kind(sync: Sync) -> str:
    if sync.status not in {"completed", "running"}:
        return "warning"
    return "data" if sync.kind == "incremental" else "chosen"


def _timelines(report: Report) -> str:
    figures = [
        figure(f"{found.job.kind}, {found.job.started_at:%Y-%m-%d %H:%M:%S}", _timeline(found), _remark(found))
        for found in report.jobs[:MOST_TIMELINES]
        if found.steps
    ]
    if not figures:
        return ""
    return f'<section><h2>Steps in time</h2></section><div class="charts">{"".join(figures)}</div>'


def _remark(found: Found) -> str:
    remark = f"job {found.job.id[:8]}, {found.job.status}"
    return f"{remark}: {found.job.error_message}" if found.job.error_message else remark


def _timeline(found: Found) -> str:
    """Return the steps of a job, and of those within it, as bars that begin when the step did."""
    began = found.job.started_at
    bars = []
    for one in found.tree():
        if one.job.kind.startswith("volume-"):
            continue  # the daemon's: they are within a step that has a bar already
        margin = "" if one is found else f"{one.job.kind}: "
        for step in one.steps:
            ended = step.completed_at or found.job.completed_at or step.started_at
            seconds = (ended - step.started_at).total_seconds()
            parts = (
                Part((step.started_at - began).total_seconds(), "ground"),
                Part(max(seconds, 1e-3), "data" if step.status == "completed" else "warning"),
            )
            status = "" if step.status == "completed" else f", {step.status}"
            bars.append(Bar(f"{margin}{step.name}", parts, f"{human_seconds(seconds)}{status}"))
    return chart(f"Steps of {found.job.kind}", bars)


def _cutovers(report: Report) -> str:
    if not report.cutovers:
        return ""
    rows = [
        [
            f"{each.started:%Y-%m-%d %H:%M:%S}" if each.started else "",
            "failover" if each.kind == "live" else "rehearsal",
            _badge(each.status),
            "" if each.downtime is None else human_seconds(each.downtime),
            escape(each.machine_id or ""),
            escape(each.error),
        ]
        for each in report.cutovers[::-1]
    ]
    head = ("Began", "What", "Status", "Downtime", "Machine", "Error")
    return section("Cut-overs and rehearsals", table(head, rows, short=True))


def _verifications(report: Report) -> str:
    rows = [
        [
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            escape(disk.label),
            _badge(disk.result),
            human_bytes(disk.compared),
            human_bytes(disk.pending),
            human_bytes(disk.differing),
            f"<code>{escape(disk.source_digest)}</code>",
            f"<code>{escape(disk.volume_digest)}</code>",
        ]
        for each in report.verified[::-1]
        for disk in each.disks
    ]
    if not rows:
        return ""
    head = ("When", "Disk", "Result", "Compared", "Not yet replicated", "Different", "Source digest", "Volume digest")
    return section("Verification digests", table(head, rows, short=True))


def _networks(report: Report) -> str:
    used: dict[str, Cutover] = {str(source): each for each in report.cutovers for source in each.networks}
    rows = [
        [escape(source), escape(str(each.networks[source])), "failover" if each.kind == "live" else "rehearsal"]
        for source, each in used.items()
    ]
    rows += [
        [escape(source), escape(target), "configuration"]
        for source, target in report.networks.items()
        if source not in used
    ]
    return section("Networks", table(("vSphere", "CloudStack", "By"), rows, short=True)) if rows else ""


def _made(report: Report) -> str:
    rows = [
        [
            f"{thing.at:%Y-%m-%d %H:%M:%S}" if thing.at else "",
            escape(thing.what),
            escape(thing.name),
            f"<code>{escape(thing.id)}</code>",
            human_bytes(thing.size) if thing.size is not None else "",
            escape(thing.where),
            escape(thing.by + (f" {thing.job_id[:8]}" if thing.job_id else "")),
        ]
        for thing in report.made
    ]
    head = ("When", "What", "Name", "Id", "Size", "Where", "Made by")
    return section("Made in CloudStack", table(head, rows, short=True)) if rows else ""


def _syncs(report: Report) -> str:
    rows = [
        [
            f"{sync.started:%Y-%m-%d %H:%M:%S}" if sync.started else "",
            _badge(sync.status),
            escape(disk.label),
            "full" if disk.full else "incremental",
            human_bytes(disk.changed),
            human_bytes(disk.moved),
            human_rate(disk.moved / disk.seconds) if disk.seconds else "",
            escape(disk.reason or sync.error),
        ]
        for sync in report.syncs[::-1]
        for disk in sync.disks
    ]
    head = ("Began", "Status", "Disk", "Sync", "Changed", "Moved", "Rate of the copy", "Reason")
    return section(f"Syncs, by disk ({len(report.syncs)})", table(head, rows, short=True), folded=True) if rows else ""


def _jobs(report: Report) -> str:
    rows = []
    for found in report.jobs:
        job = found.job
        took = human_seconds((job.completed_at - job.started_at).total_seconds()) if job.completed_at else ""
        rows.append(
            [
                f"{job.started_at:%Y-%m-%d %H:%M:%S}",
                escape(job.kind),
                _badge(job.status),
                took,
                escape(job.host),
                f"<code>{job.id}</code>",
                escape(job.error_message or ""),
            ]
        )
    head = ("Began", "Job", "Status", "Took", "Host", "Id", "Error")
    more = f"<p>{report.left_out} older jobs are left out.</p>" if report.left_out else ""
    return section(f"Jobs ({len(rows)})", table(head, rows, short=True) + more, folded=True)


def _badge(status: str) -> str:
    return f'<span class="badge {KINDS.get(status, "warning")}">{escape(status.replace("_", " "))}</span>'
