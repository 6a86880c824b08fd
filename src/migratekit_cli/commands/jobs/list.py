"""migratekit jobs list"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from migratekit_cli.commands.jobs.jobview import took
from migratekit_cli.errors import reported
from migratekit_cli.options import (
    KindsOption,
    Output,
    OutputOption,
    OwnersOption,
    SinceOption,
    StatusesOption,
)
from migratekit_cli.session import as_given, configuration, runtime
from migratekit_cli.ui import plain, render

SHORT_ID = 8
"""Characters of an id on a terminal; every command takes the beginning of one."""


@reported
def command(
    context: typer.Context,
    vm: OwnersOption = None,
    kind: KindsOption = None,
    status: StatusesOption = None,
    since: SinceOption = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, the newest first.")] = 50,
    nested: Annotated[
        bool, typer.Option("--nested", help="Also jobs within others, such as volume operations.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List jobs, the newest first."""
    from migratekit_core.adapters.tunnel import local
    from migratekit_core.joblog.listing import Filter, at_once, fields, listed

    config = configuration(context)
    socket = local.way_to(config.tunnel, "db")
    wanted = Filter(vm or (), kind or (), status or (), since, nested, limit)
    rows, left = at_once(config.database, socket, wanted), []
    if rows is None:
        from migratekit_core.db.schema import require_schema
        from migratekit_core.services.failover.owed import owed as left_over

        with runtime(context) as opened:
            require_schema(opened.databases, ("oma",))
            opened.tracker.mark_interrupted()
            rows = listed(opened.databases.oma, wanted)
            left = [one for one in left_over(opened.databases.oma) if not vm or one.vm_name in vm]
    table = render.Table("ID", "KIND", "ABOUT", "STATUS", "STARTED (UTC)", "TOOK", right=("TOOK",))
    for row in rows:
        table.add(_id(row), row.kind, row.owner, row.status, f"{row.started_at:%Y-%m-%d %H:%M:%S}", took(row))
    owed = [
        {"vm": one.vm_name, "what": one.what, "hint": one.todo.fields(), "jobs": sorted(one.job_ids)} for one in left
    ]
    render.result(output, "migratekit.jobs/1", {"jobs": [fields(row) for row in rows], "owed": owed}, table)
    for one in left:  # not on stdout, where one reads columns
        plain.err(f"to be taken back: {as_given(f'{one.vm_name}: {one.what}; ', one.todo)}")


def _id(row: Any) -> str:
    return row.id[:SHORT_ID] if sys.stdout.isatty() else str(row.id)
