"""How running jobs look: for a terminal of 80 columns or more, as plain lines, and as a document."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from migratekit_core.common.units import human_bytes, human_rate, human_seconds

if TYPE_CHECKING:
    from migratekit_core.joblog.live import LiveItem, LiveJob, Snapshot

SILENT_SECONDS = 15.0
"""A copy writes down every second how far it is; after so many without a word that is worth saying."""
COLOURS = {"running": "cyan", "completed": "green", "failed": "red", "interrupted": "yellow", "cancelled": "yellow"}


def document(seen: Snapshot) -> dict[str, Any]:
    """Return a snapshot for machines."""
    jobs = []
    for job in seen.jobs:
        plain = asdict(job)
        plain["vm"] = plain.pop("owner")
        plain["started_at"] = job.started_at.isoformat()
        plain["error"] = job.error or None
        plain["waiting"] = job.waiting or None
        plain |= {"done": job.done, "total": job.total, "rate": job.rate, "seconds_left": job.seconds_left}
        plain["silent_seconds"] = silent(job, seen)
        for held, item in zip(plain["items"], job.items, strict=True):
            held["updated_at"] = item.updated_at.isoformat()
            held["seconds_left"] = item.seconds_left
        jobs.append(plain)
    return {"at": seen.at.isoformat(), "rate": seen.rate, "jobs": jobs}


def silent(job: LiveJob, seen: Snapshot) -> float | None:
    """Return for how many seconds a running copy has said nothing, if for too long."""
    unfinished = [item.updated_at for item in job.items if item.done < item.total]
    if job.status != "running" or not unfinished:
        return None
    seconds = (seen.at - max(unfinished)).total_seconds()
    return seconds if seconds > SILENT_SECONDS else None


def clock(seconds: float | None) -> str:
    """Return a time that is left, in few columns: `0:42`, `12:05`, `3h 20m`; "" where nobody knows."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 60}:{whole % 60:02}"


def pair(done: int, total: int) -> str:
    """Return `1.2/4.0 GiB`, or `640.0 MiB/4.0 GiB` where the units differ."""
    first, whole = human_bytes(done), human_bytes(total)
    if first.split()[1] == whole.split()[1]:
        first = first.split()[0]
    return f"{first}/{whole}"


def percent(done: int, total: int) -> int:
    """Return how much is done; 100 only where all is."""
    return 100 if done >= total else min(int(100 * done / total), 99)


def lines(seen: Snapshot) -> Iterator[str]:
    """Yield a line for each job and each of its disks: for logs, pipes and screen readers."""
    for job in seen.jobs:
        text = f"{job.id[:8]} {job.kind} {job.owner}: {_where(job)}"
        if job.total and job.status == "running":
            text += f", {percent(job.done, job.total)} %, {human_rate(job.rate)}"
            text += f", {clock(job.seconds_left)} left" if job.seconds_left else ""
        yield text + "".join(f"; {remark}" for remark in remarks(job, seen))
        for item in job.items:
            pace = _pace(item, job.status == "running")
            yield f"  {item.name}: {percent(item.done, item.total)} %, {pair(item.done, item.total)}{pace}"


def remarks(job: LiveJob, seen: Snapshot) -> Iterator[str]:
    """Yield what is to be said besides."""
    if job.asked_to_stop and job.status == "running":
        yield "asked to stop"
    if job.waiting:
        yield job.waiting
    quiet = silent(job, seen)
    if quiet is not None:
        yield f"no news for {human_seconds(quiet)}: look at {job.host}"
    if job.error:
        yield job.error


def drawn(seen: Snapshot, width: int, notice: str = "") -> Any:
    """Return rich's form of a snapshot for a terminal so many columns wide."""
    from rich.console import Group
    from rich.text import Text

    running = sum(job.status == "running" for job in seen.jobs)
    head = Text.assemble(
        (f"{running} running", "bold"), f"  {human_rate(seen.rate)}" if seen.rate else "", overflow="ellipsis"
    )
    head.append(f"{seen.at:%H:%M:%S} UTC".rjust(max(width - len(head), 0)), "dim")
    parts: list[Any] = [head]
    for job in seen.jobs:
        parts += ["", *_drawn_job(job, seen, width)]
    if not seen.jobs:
        parts += ["", Text("nothing runs", "dim")]
    if notice:
        parts += ["", Text(notice, "yellow")]
    return Group(*parts)


def _drawn_job(job: LiveJob, seen: Snapshot, width: int) -> Iterator[Any]:
    from rich.text import Text

    took = clock(job.seconds)
    title = Text(no_wrap=True, overflow="ellipsis")
    title.append(job.owner, "bold")
    title.append(f"  {job.kind}  ")
    title.append(_where(job), COLOURS[job.status])
    side = f"  {job.id[:8]}  {took}"
    title.truncate(max(width - len(side), 10), overflow="ellipsis", pad=True)
    title.append(side, "dim")
    yield title
    for remark in remarks(job, seen):
        yield Text(f"  {remark}", "yellow")
    if job.items:
        yield _bars(job, width)


def _bars(job: LiveJob, width: int) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 1, 0, 0))
    rows.width = width
    rows.add_column(width=1)
    rows.add_column(ratio=1, min_width=10, no_wrap=True, overflow="ellipsis")
    rows.add_column(ratio=1, min_width=10)
    for size in (5, 18, 11, 8):
        rows.add_column(justify="right", width=size, no_wrap=True)
    for item in job.items:
        complete = item.done >= item.total
        going = not complete and job.status == "running"
        # The bar's own 100 is for what is complete; an empty disk is.
        bar = ProgressBar(total=max(item.total, 1), completed=item.done if item.total else 1, complete_style="cyan")
        rows.add_row(
            "",
            Text(item.name),
            bar,
            f"{percent(item.done, item.total)} %",
            pair(item.done, item.total),
            human_rate(item.rate) if going else "",
            Text("done", "green") if complete else Text(clock(item.seconds_left) if going else "", "cyan"),
        )
    return rows


def _where(job: LiveJob) -> str:
    return " > ".join(job.steps) or ("between two steps" if job.status == "running" else job.status)


def _pace(item: LiveItem, running: bool) -> str:
    if item.done >= item.total:
        return ", done"
    if not running:
        return ""
    left = f", {clock(item.seconds_left)} left" if item.seconds_left else ""
    return f", {human_rate(item.rate)}{left}"


def took(row: Any) -> str:
    """Return how long a job or a step took that has ended."""
    ended: datetime | None = row.completed_at
    return human_seconds((ended - row.started_at).total_seconds()) if ended else ""
