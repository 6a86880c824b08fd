"""migratekit jobs prune"""

from __future__ import annotations

from datetime import timedelta

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, OlderOption, Output, OutputOption, YesOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_cli.ui.render import count
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.units import human_age


@reported
def command(
    context: typer.Context,
    older_than: OlderOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Delete old jobs from the joblog, with their steps and events; never what still runs. Replicas stay."""
    from migratekit_core.db.models.base import utcnow
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog import prune as core

    with runtime(context) as opened:
        age = opened.config.joblog.keep if older_than is None else older_than
        if age is None:
            raise UsageError(
                "it is not said what is old",
                "no --older-than, and joblog.keep is not set",
                "pass --older-than 90d",
                code=ErrorCode.USAGE,
            )
        require_schema(opened.databases, ("oma",))
        opened.tracker.mark_interrupted()
        before = utcnow() - timedelta(seconds=age)
        if not dry_run and not yes:
            found = core.prune(opened.databases.oma, before, dry_run=True)
            confirm(f"Delete {count(found.jobs, 'job')} that ended more than {human_age(age)} ago?", yes)
        done = core.prune(opened.databases.oma, before, dry_run)
    verb = "would be deleted" if dry_run else "deleted"
    text = f"{count(done.jobs, 'job')}, {count(done.steps, 'step')}, {count(done.events, 'event')} {verb}"
    if done.attempts:
        text += f"; {count(done.attempts, 'attempt')} of waves that came to nothing"
    if done.kept:
        text += (
            f"; {count(done.kept, 'job')} kept, which {'has' if done.kept == 1 else 'have'} not ended long enough ago"
        )
    data = {
        "before": before.isoformat(),
        "jobs": done.jobs,
        "steps": done.steps,
        "events": done.events,
        "kept": done.kept,
        "attempts": done.attempts,
    }
    render.result(output, f"migratekit.jobs-prune{'-plan' if dry_run else ''}/1", data, text=text)
