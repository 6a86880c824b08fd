"""migratekit config show"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import Globals
from migratekit_cli.ui import render


@reported
def command(
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


def _text(value: Any) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
