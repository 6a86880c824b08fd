"""migratekit db upgrade"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, dry_run: DryRunOption = False, output: OutputOption = Output.TABLE) -> None:
    """Bring both databases to the schema of this version. Safe to repeat; rows are kept. --dry-run prints the SQL."""
    from migratekit_core.db.migrate import preview, upgrade_both

    with runtime(context) as opened:
        if dry_run:
            _plan(preview(opened.databases), output)
            return
        done = upgrade_both(opened.databases)
    lines = []
    for item in done:
        way = f"already at {item.after}" if item.before == item.after else f"{item.before or 'empty'} → {item.after}"
        if item.changed:
            way = f"made right by {render.count(len(item.changed), 'statement')}, at {item.after}"
        lines.append(f"{item.database}: {way}")
    render.result(
        output, "migratekit.db-upgrade/1", {"databases": [asdict(item) for item in done]}, text="\n".join(lines)
    )


def _plan(planned: dict[str, list[str]], output: Output) -> None:
    lines = []
    for name, statements in planned.items():
        lines.append(f"-- {name}" if statements else f"-- {name}: nothing to do")
        lines += [f"{statement};" for statement in statements]
    databases = [{"database": name, "statements": statements} for name, statements in planned.items()]
    render.result(output, "migratekit.db-upgrade-plan/1", {"databases": databases}, text="\n".join(lines))
