"""migratekit jobs set"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import (
    BandwidthOption,
    DiskBandwidthOption,
    Output,
    OutputOption,
)
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.units import human_rate


@reported
def command(
    context: typer.Context,
    job: Annotated[str, typer.Argument(metavar="JOB", help="Id of a running sync or failover, or how it begins.")],
    bandwidth: BandwidthOption = None,
    disk_bandwidth: DiskBandwidthOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a running job, from any host that reaches the database: it follows within two seconds while it copies."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.requests import ask

    given = {"bandwidth": bandwidth, "disk_bandwidth": disk_bandwidth}
    settings = {name: value or None for name, value in given.items() if value is not None}
    if not settings:
        raise UsageError(
            "nothing to set", "no option says what", "pass --bandwidth or --disk-bandwidth", code=ErrorCode.USAGE
        )
    with runtime(context) as opened:
        require_schema(opened.databases)
        found = ask(opened.tracker, job, settings)
    said = [f"{name} {human_rate(value) if value else 'without a limit'}" for name, value in settings.items()]
    text = f"{found.kind} of {found.owner}: {', '.join(said).replace('_', ' ')}"
    render.result(output, "migratekit.job-set/1", {"job_id": found.id, **settings}, text=text)
