"""migratekit config show, validate"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from migratekit_cli import render
from migratekit_cli.commands import config_init
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import Globals

app = typer.Typer(help="Make, show and check the configuration.", no_args_is_help=True)
app.command("init")(config_init.init)


@app.command("show")
@reported
def show(
    context: typer.Context,
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show every setting, its value, and where that came from; of a secret only where it is."""
    from migratekit_core.config.load import checked, read_sources
    from migratekit_core.config.origins import DEFAULT, listed, missing_tables

    chosen: Globals = context.obj
    sources = read_sources(chosen.config, chosen.profile)
    config = checked(sources)
    found = [each for each in listed(config, sources) if not (changed and each.origin == DEFAULT)]
    table = render.Table("SETTING", "VALUE", "FROM")
    for each in found:
        table.add(each.setting, _text(each.value), each.origin)
    for name in [] if changed else missing_tables(config):
        table.add(f"[{name}]", "not configured", "")
    data = {
        "files": [str(path) for path in sources.files],
        "profile": sources.profile,
        "settings": [asdict(each) for each in found],
        "not_configured": missing_tables(config),
    }
    render.result(output, "migratekit.config/1", data, table)


@app.command("validate")
@reported
def validate(
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


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
