"""migratekit tunnel server check"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from migratekit_cli.commands.tunnel.server.settings import settings_of
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.ui import render
from migratekit_core.common.errors import PreconditionError

if TYPE_CHECKING:
    from migratekit_core.adapters.tunnel.install import Finding


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Check the OMA's end: certificates, configuration, unit, and whether it and the services answer; exit 4 if not."""
    from migratekit_core.adapters.tunnel.install import look

    found = look(settings_of(context))
    _findings(output, found)
    if not all(finding.ok for finding in found):
        raise typer.Exit(PreconditionError.exit_code)


def _findings(output: Output, found: list[Finding]) -> None:
    table = render.Table("Check", "Result", "Detail", "Do")
    for finding in found:
        table.add(finding.check, "ok" if finding.ok else "FAILED", finding.detail, "" if finding.ok else finding.todo)
    data = {"ok": all(finding.ok for finding in found), "checks": [asdict(finding) for finding in found]}
    render.result(output, "migratekit.tunnel-server-check/1", data, table=table)
