"""migratekit tunnel status"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.commands.tunnel.configured import configured
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import as_given
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show whether the local end is up and the OMA takes us; exit 5 where it refuses us, 6 where it does not answer."""
    from migratekit_core.adapters.tunnel import local
    from migratekit_core.adapters.tunnel.probe import probe
    from migratekit_core.common.errors import UnreachableError

    settings = configured(context).tunnel
    status, seen = local.status(settings), probe(settings)
    problem = seen.problem
    ends = f", its certificate holds until {seen.certificate_ends:%Y-%m-%d}" if seen.certificate_ends else ""
    answer = f"{problem}\n  do: {as_given(problem.todo)}" if problem else f"answers ({seen.protocol}{ends})"
    text = f"local end: {'up' if status.up else 'down'}\nOMA {status.remote}: {answer}"
    data = {
        **asdict(status),
        "remote_answers": problem is None,
        "remote_problem": str(problem) if problem else "",
        "remote_todo": str(problem.todo) if problem else "",
        "remote_code": problem.code.value if problem else None,
        "protocol": seen.protocol,
        "oma_certificate_ends": seen.certificate_ends.isoformat() if seen.certificate_ends else None,
    }
    render.result(output, "migratekit.tunnel-status/1", data, text=text)
    if problem is not None:
        raise typer.Exit(problem.exit_code)
    if not status.up:
        raise typer.Exit(UnreachableError.exit_code)
