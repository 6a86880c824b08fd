"""migratekit jobs cancel"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, WaitOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_core.common.codes import ErrorCode


@reported
def command(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of a running job, or how it begins.")],
    reason: Annotated[str, typer.Option("--reason", help="Is recorded, and told by the job.")] = "",
    gone: Annotated[
        bool, typer.Option("--gone", help="The job's host is gone for good: mark the job as interrupted, ask nobody.")
    ] = False,
    wait: WaitOption = "60s",  # type: ignore[assignment]
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask a running job to stop, from any host that reaches the database: it stops where it safely can.

    A sync leaves a checkpoint; a failover stops before its point of no return, and not after it.
    """
    from migratekit_core.common.errors import PreconditionError
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog import cancel as core
    from migratekit_core.joblog.show import one
    from migratekit_core.joblog.states import RUNNING

    with runtime(context) as opened:
        require_schema(opened.databases, ("oma",))
        opened.tracker.mark_interrupted()
        found = one(opened.tracker, job)
        if dry_run and not gone:
            problem = core.check(found) or ("" if found.status == RUNNING else f"it is {found.status}")
            if problem:
                raise PreconditionError(
                    f"{found.kind} {found.id} cannot be cancelled",
                    problem,
                    "nothing is to do",
                    code=ErrorCode.JOB_NOT_LISTENING,
                    facts={"job_id": found.id},
                )
            plan = {"job_id": found.id, "steps": [f"ask {found.kind} of {found.owner} on {found.host} to stop"]}
            render.result(output, "migratekit.job-cancel-plan/1", plan, text=plan["steps"][0])
            return
        if gone and dry_run:
            plan = {"job_id": found.id, "steps": [f"mark {found.kind} of {found.owner} on {found.host} as interrupted"]}
            render.result(output, "migratekit.job-cancel-plan/1", plan, text=plan["steps"][0])
            return
        if gone:
            core.give_up(opened.tracker, found)
        else:
            core.ask(opened.tracker, found, reason)
        found = core.wait(opened.tracker, found.id, wait)
    now = "was asked to stop and still runs" if found.status == RUNNING else f"is {found.status}"
    data = {"job_id": found.id, "kind": found.kind, "vm": found.owner, "status": found.status}
    render.result(output, "migratekit.job-cancel/1", data, text=f"{found.kind} of {found.owner} {now}")
