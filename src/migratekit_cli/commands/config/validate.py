"""migratekit config validate"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import Globals
from migratekit_cli.ui import render


@reported
def command(
    context: typer.Context,
    run_commands: Annotated[
        bool, typer.Option("--run-commands", help="Also run the commands that secrets come from.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check the configuration without using it: keys, values, files, secrets. Exit 2, 4 or 5 where one is wrong."""
    from migratekit_core.config.load import read_sources
    from migratekit_core.config.verdict import validate as findings

    chosen: Globals = context.obj
    sources = read_sources(chosen.config, chosen.profile)
    found = findings(sources, run_commands)
    table = render.Table("SETTING", "WHAT IS WRONG", "WHAT TO DO") if found else None
    for each in found:
        assert table is not None, "made above, for there is something"
        table.add(each.setting, each.what, each.todo)
    files = ", ".join(str(path) for path in sources.files) or "no file, only defaults and the environment"
    data = {
        "valid": not found,
        "files": [str(path) for path in sources.files],
        "profile": sources.profile,
        "findings": [asdict(each) for each in found],
    }
    text = "" if found else f"the configuration is right ({files})"
    if not found and not sources.merged:
        text = "nothing is configured yet; begin with: migratekit config init"
    render.result(output, "migratekit.config-validate/1", data, table, text)
    if found:
        raise typer.Exit(found[0].exit_code)
