"""migratekit jobs prune"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, OlderOption, Output, OutputOption, YesOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_cli.ui.render import count
from migratekit_core.common.units import human_age

if TYPE_CHECKING:
    from migratekit_core.joblog.prune import Pruned

SAY_SECONDS = 10.0


@reported
def command(
    context: typer.Context,
    older_than: OlderOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete old jobs with their steps and events, old syncs, and old operations of the volume daemon.

    Never what still runs, a machine's newest syncs, or the record of a cut-over. Replicas stay."""
    from migratekit_core.db.models.base import utcnow
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog import prune as core

    with runtime(context) as opened:
        age = opened.config.joblog.keep if older_than is None else older_than
        require_schema(opened.databases)
        opened.tracker.mark_interrupted()
        before = utcnow() - timedelta(seconds=age)
        if not dry_run and not yes:
            found = core.prune(opened.databases, before, dry_run=True)
            confirm(f"Delete {count(found.jobs, 'job')} that ended more than {human_age(age)} ago?", yes)
        done = core.prune(opened.databases, before, dry_run, _now_and_then(opened.observer.note))
    verb = "would be deleted" if dry_run else "deleted"
    text = f"{_told(done)} {verb}"
    if done.kept:
        text += f"; {count(done.kept, 'job')} kept: not over long enough"
    if done.audit:
        text += f"; {count(done.audit, 'job')} kept: the record of cut-overs"
    data = {"before": before.isoformat(), **asdict(done)}
    render.result(output, f"migratekit.jobs-prune{'-plan' if dry_run else ''}/1", data, text=text)


def _told(done: Pruned) -> str:
    more = (
        (done.syncs, "sync"),
        (done.operations, "operation of the volume daemon", "operations of the volume daemon"),
        (done.cloudstack_jobs, "CloudStack job"),
        (done.attempts, "wave attempt"),
    )
    always = [count(done.jobs, "job"), count(done.steps, "step"), count(done.events, "event")]
    return ", ".join(always + [_count(*each) for each in more if each[0]])


def _count(number: int, one: str, several: str = "") -> str:
    return f"{number} {several}" if several and number != 1 else count(number, one)


def _now_and_then(note: Callable[[str], None]) -> Callable[[Pruned], None]:
    """Return what tells how far it is, every few seconds: a year's past takes a while."""
    said = time.monotonic()

    def tell(done: Pruned) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            note(f"so far {_told(done)}")

    return tell
