"""migratekit replicate --all-due"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING

import typer

from migratekit_cli.options import Output
from migratekit_cli.session import as_given, runtime
from migratekit_cli.ui import plain, render
from migratekit_cli.ui.render import count
from migratekit_core.common.hints import migratekit
from migratekit_core.common.units import human_age, human_bytes, human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.replication.queue import Load
    from migratekit_core.services.schedule.due import Standing
    from migratekit_core.services.schedule.run import Outcome, Result

FAILED_EXIT_CODE = 1


def replicate_due(context: typer.Context, options: list[str], dry_run: bool, quiet: bool, output: Output) -> None:
    """Sync every machine that is due, or show how all of them stand. `options` go to each sync."""
    from migratekit_core.adapters.cloudstack.limits import DATA_DISKS
    from migratekit_core.common import childprocess
    from migratekit_core.common.childprocess import Child
    from migratekit_core.common.errors import ERROR_FILE
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.replication.queue import of_schedule
    from migratekit_core.services.schedule.due import standings
    from migratekit_core.services.schedule.run import run_due

    command = [sys.executable, "-m", "migratekit_cli.main", *context.obj.arguments]

    def start(name: str, out: IO[str], told: Path) -> Child:
        # It is one of ours, and may need the variables that hold secrets.
        return childprocess.start(
            # A machine may be called like an option.
            [*command, "replicate", *options, "--output", "json", "--", name],
            output=out,
            env={**os.environ, ERROR_FILE: str(told)},
        )

    with runtime(context, watched=not quiet and not dry_run) as opened:
        require_schema(opened.databases, ("oma",))
        schedule = opened.config.schedule
        if dry_run:
            places = (opened.config.ossea.max_disks if opened.config.ossea else None) or DATA_DISKS
            found = standings(opened.databases.oma, schedule)
            _show_plan(found, of_schedule(opened.databases.oma, schedule.rpo, places), output)
            return
        opened.tracker.mark_interrupted()
        done = run_due(opened.databases.oma, schedule, start, opened.observer.note)
    _show(done, quiet, output)
    if done.failed:
        codes = {each.exit_code for each in done.failed}
        raise typer.Exit(codes.pop() if len(codes) == 1 else FAILED_EXIT_CODE)


def _show_plan(found: list[Standing], queue: Load, output: Output) -> None:
    table = render.Table("MACHINE", "RPO", "LAST SYNC (UTC)", "AGE", "STATE", "DUE IN", right=("RPO", "AGE", "DUE IN"))
    for each in found:
        last = f"{each.last:%Y-%m-%d %H:%M:%S}" if each.last else "never"
        age = "" if each.age is None else human_age(each.age)
        state = f"{each.state}, late" if each.late and each.state == "due" else each.state
        table.add(each.name, human_age(each.rpo), last, age, state, human_age(each.due_in) if each.due_in else "")
    machines = [
        {
            "vm": each.name,
            "rpo_seconds": each.rpo,
            "state": each.state,
            "last_sync": each.last.isoformat() if each.last else None,
            "age_seconds": each.age,
            "due_in_seconds": each.due_in,
            "late_seconds": each.late,
        }
        for each in found
    ]
    told = {
        "disks": queue.disks,
        "places": queue.slots,
        "jobs_per_hour": round(queue.jobs_per_hour, 1),
        "seconds_per_job": round(queue.job.seconds, 1),
        "measured": queue.job.measured,
        "busy": round(queue.busy, 3),
        "fits": queue.fits,
        "rpo_that_fits_seconds": round(queue.rpo_that_fits, 1),
        "omas_needed": queue.omas_needed,
    }
    render.result(output, "migratekit.replicate-due-plan/1", {"machines": machines, "queue": told}, table)
    if output is Output.TABLE:
        plain.out(str(queue))


def _show(done: Result, quiet: bool, output: Output) -> None:
    if output is not Output.TABLE:
        data = {
            "seconds": round(done.seconds, 3),
            "in_step": done.count("in step"),
            "failed_over": done.count("failed over"),
            "ambiguous": [each.name for each in done.standings if each.state == "ambiguous"],
            "machines": [_plain(each) for each in done.outcomes],
        }
        render.result(output, "migratekit.replicate-due/1", data)
        return
    if quiet and not done.trouble:
        return
    plain.out(summary(done))
    for line in [*troubles(done), *busy(done), *surplus(done)]:
        plain.out(line)


def _plain(each: Outcome) -> dict[str, object]:
    plain = asdict(each)
    plain["vm"] = plain.pop("name")
    plain["late_seconds"] = round(plain.pop("late"), 3)
    plain["seconds"] = round(each.seconds, 3)
    plain["bytes_moved"] = plain.pop("moved")
    plain["result"] = "busy" if each.busy else "failed" if each.exit_code else "synced"
    plain["surplus_volumes"] = list(plain.pop("surplus"))
    plain["kind"], plain["error"], plain["code"] = each.kind or None, each.error or None, each.code or None
    return plain


def summary(done: Result) -> str:
    """Return one line."""
    synced = [each for each in done.outcomes if each.exit_code == 0]
    moved = human_bytes(sum(each.moved for each in synced))
    parts = [f"{len(synced)} synced ({moved} in {human_seconds(done.seconds)})" if synced else "nothing synced"]
    for number, name in (
        (len(done.failed), "failed"),
        (sum(each.busy for each in done.outcomes), "busy"),
        (len(done.late), "late"),
        (done.count("in step"), "in step"),
        (done.count("failed over"), "failed over"),
        (done.count("ambiguous"), "ambiguous"),
    ):
        parts += [f"{number} {name}"] if number else []
    return f"{count(len(done.standings), 'machine')} scheduled: {', '.join(parts)}"


def surplus(done: Result) -> list[str]:
    """Return which machines have volumes that nothing needs any more."""
    return [
        as_given(
            f"{each.name}: {count(len(each.surplus), 'volume')} that nothing needs any more; they are in: ",
            migratekit("volumes", "drift"),
        )
        for each in done.outcomes
        if each.surplus
    ]


def busy(done: Result) -> list[str]:
    """Return why machines were left for the next run: mostly that somebody else works on them."""
    lines = []
    for each in done.outcomes:
        if each.busy:
            lines += [f"{each.name}: left for the next run", *(f"  {line}" for line in each.error.splitlines())]
    return lines


def troubles(done: Result) -> list[str]:
    """Return what somebody has to hear, a few lines for each machine."""
    lines = [
        f"{each.name}: the schedule's name is that of several machines; use a path or an instanceUuid"
        for each in done.standings
        if each.state == "ambiguous"
    ]
    rpo = {each.name: each.rpo for each in done.standings}
    lines += [
        f"{each.name}: its replica was {human_seconds(rpo.get(each.name, 0) + each.late)} old when its sync began; "
        f"it may be {human_seconds(rpo.get(each.name, 0))}"
        for each in done.late
    ]
    for each in done.failed:
        lines.append(f"{each.name}: the sync failed with exit {each.exit_code}")
        lines += [f"  {line}" for line in each.error.splitlines()]
    return lines
