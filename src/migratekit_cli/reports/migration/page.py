"""A report as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from migratekit_cli.reports import pages
from migratekit_cli.reports.charts import Bar, Chart, Part, chart
from migratekit_cli.reports.parts import Cell, Figure, Row, Table, Tile, badge, code
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
    made_of = (_cutovers, _verifications, _networks, _made, _syncs)
    return pages.render(
        "migration.html",
        title=f"{report.title}: migration report",
        heading=report.title,
        below=f"Migration report · {made:%Y-%m-%d %H:%M} · migratekit {version} · times are UTC",
        tiles=_tiles(report),
        source=_source(report),
        charts=_sync_charts(report.syncs),
        timelines=_timelines(report),
        tables=[*(table for table in (make(report) for make in made_of) if table.rows), _jobs(report)],
    )


def _tiles(report: Report) -> Iterator[Tile]:
    done = [sync for sync in report.syncs if sync.status == "completed"]
    yield Tile("syncs completed", str(len(done)))
    yield Tile("moved in all", human_bytes(sum(sync.moved for sync in report.syncs)))
    if done:
        last = done[-1]
        yield Tile(f"last sync, {last.kind}", human_bytes(last.moved))
        if last.started is not None:
            yield Tile(f"replica holds, {last.started:%Y-%m-%d}", f"{last.started:%H:%M}")
    checks = [disk.result for each in report.verified[-1:] for disk in each.disks]
    if checks:
        same = all(result == "identical" for result in checks)
        yield Tile("last verification", "identical" if same else "different", "ok" if same else "blocker")
    for cutover in report.cutovers[-1:]:
        kind = "failover" if cutover.kind == "live" else "rehearsal"
        yield Tile(f"last {kind}", cutover.status.replace("_", " "), KINDS.get(cutover.status, ""))
    away = [each.downtime for each in report.cutovers if each.downtime is not None]
    if away:
        yield Tile("downtime", human_seconds(away[-1]))
    failed = sum(found.job.status == "failed" for found in report.jobs)
    if failed:
        yield Tile("jobs failed", str(failed), "warning")


def _source(report: Report) -> Iterator[Table]:
    machine = report.machine
    if machine is not None:
        row: Row = [machine.path, machine.uuid, f"{machine.vcenter}, {machine.datacenter}"]
        yield Table("Source", ("Path", "instanceUuid", "vCenter"), [row])


def _sync_charts(syncs: tuple[Sync, ...]) -> Iterator[Figure]:
    newest = [sync for sync in syncs if sync.started is not None][-MOST_BARS:]
    if not newest:
        return
    left_out = len(syncs) - len(newest)
    note = f"The newest {len(newest)} of {len(syncs)} syncs." if left_out else ""
    rates = [
        Bar(_label(sync), (Part(sync.rate or 0.0, _kind(sync)),), human_rate(sync.rate) if sync.rate else "")
        for sync in newest
    ]
    yield Figure(
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
    yield Figure("Changed bytes by sync", chart("Changed bytes by sync", sizes), f"{text} {note}".strip())


def _label(sync: Sync) -> str:
    return f"{sync.started:%m-%d %H:%M:%S} {sync.kind}" + ("" if sync.status == "completed" else f", {sync.status}")


def _kind(sync: Sync) -> str:
    if sync.status not in {"completed", "running"}:
        return "warning"
    return "data" if sync.kind == "incremental" else "chosen"


def _timelines(report: Report) -> list[Figure]:
    return [
        Figure(f"{found.job.kind}, {found.job.started_at:%Y-%m-%d %H:%M:%S}", _timeline(found), _remark(found))
        for found in report.jobs[:MOST_TIMELINES]
        if found.steps
    ]


def _remark(found: Found) -> str:
    remark = f"job {found.job.id[:8]}, {found.job.status}"
    return f"{remark}: {found.job.error_message}" if found.job.error_message else remark


def _timeline(found: Found) -> Chart:
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


def _cutovers(report: Report) -> Table:
    rows: list[Row] = [
        [
            f"{each.started:%Y-%m-%d %H:%M:%S}" if each.started else "",
            "failover" if each.kind == "live" else "rehearsal",
            _badge(each.status),
            "" if each.downtime is None else human_seconds(each.downtime),
            each.machine_id or "",
            each.error,
        ]
        for each in report.cutovers[::-1]
    ]
    head = ("Began", "What", "Status", "Downtime", "Machine", "Error")
    return Table("Cut-overs and rehearsals", head, rows, short=True)


def _verifications(report: Report) -> Table:
    rows: list[Row] = [
        [
            f"{each.at:%Y-%m-%d %H:%M:%S}",
            disk.label,
            _badge(disk.result),
            human_bytes(disk.compared),
            human_bytes(disk.pending),
            human_bytes(disk.differing),
            code(disk.source_digest),
            code(disk.volume_digest),
        ]
        for each in report.verified[::-1]
        for disk in each.disks
    ]
    head = ("When", "Disk", "Result", "Compared", "Not yet replicated", "Different", "Source digest", "Volume digest")
    return Table("Verification digests", head, rows, short=True)


def _networks(report: Report) -> Table:
    used: dict[str, Cutover] = {str(source): each for each in report.cutovers for source in each.networks}
    rows: list[Row] = [
        [source, str(each.networks[source]), "failover" if each.kind == "live" else "rehearsal"]
        for source, each in used.items()
    ]
    rows += [[source, target, "configuration"] for source, target in report.networks.items() if source not in used]
    return Table("Networks", ("vSphere", "CloudStack", "By"), rows, short=True)


def _made(report: Report) -> Table:
    rows: list[Row] = [
        [
            f"{thing.at:%Y-%m-%d %H:%M:%S}" if thing.at else "",
            thing.what,
            thing.name,
            code(thing.id),
            human_bytes(thing.size) if thing.size is not None else "",
            thing.where,
            thing.by + (f" {thing.job_id[:8]}" if thing.job_id else ""),
        ]
        for thing in report.made
    ]
    head = ("When", "What", "Name", "Id", "Size", "Where", "Made by")
    return Table("Made in CloudStack", head, rows, short=True)


def _syncs(report: Report) -> Table:
    rows: list[Row] = [
        [
            f"{sync.started:%Y-%m-%d %H:%M:%S}" if sync.started else "",
            _badge(sync.status),
            disk.label,
            "full" if disk.full else "incremental",
            human_bytes(disk.changed),
            human_bytes(disk.moved),
            human_rate(disk.moved / disk.seconds) if disk.seconds else "",
            disk.reason or sync.error,
        ]
        for sync in report.syncs[::-1]
        for disk in sync.disks
    ]
    head = ("Began", "Status", "Disk", "Sync", "Changed", "Moved", "Rate of the copy", "Reason")
    return Table(f"Syncs, by disk ({len(report.syncs)})", head, rows, short=True, folded=True)


def _jobs(report: Report) -> Table:
    rows: list[Row] = []
    for found in report.jobs:
        job = found.job
        took = human_seconds((job.completed_at - job.started_at).total_seconds()) if job.completed_at else ""
        rows.append(
            [
                f"{job.started_at:%Y-%m-%d %H:%M:%S}",
                job.kind,
                _badge(job.status),
                took,
                job.host,
                code(job.id),
                job.error_message or "",
            ]
        )
    head = ("Began", "Job", "Status", "Took", "Host", "Id", "Error")
    more = f"{report.left_out} older jobs are left out." if report.left_out else ""
    return Table(f"Jobs ({len(rows)})", head, rows, short=True, folded=True, note=more)


def _badge(status: str) -> Cell:
    return badge(status.replace("_", " "), KINDS.get(status, "warning"))
