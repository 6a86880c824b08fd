"""migratekit db check"""

from __future__ import annotations

from dataclasses import asdict

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render
from migratekit_core.common.errors import SchemaMismatchError


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Compare both databases with what this version writes; exit 7 where they differ."""
    from migratekit_core.db.schema import check_both

    with runtime(context) as opened:
        found = check_both(opened.databases)
    table = render.Table("DATABASE", "TABLE", "COLUMN", "EXPECTED", "FOUND") if found else None
    for difference in found:
        assert table is not None, "made above, for there are differences"
        table.add(difference.database, difference.table, difference.column, difference.expected, difference.found)
    text = "" if found else "both databases have the schema of this version"
    render.result(output, "migratekit.db-check/1", {"differences": [asdict(item) for item in found]}, table, text)
    if found:
        raise typer.Exit(SchemaMismatchError.exit_code)
