"""migratekit volumes daemon token rotate"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import configuration
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@reported
def command(
    context: typer.Context,
    overlap: Annotated[
        str, typer.Option("--overlap", help="How long the old token still holds: 90s, 15m, 1h, 2d; 0s: no more at all.")
    ] = "1h",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Replace the daemon's token without a restart. It is not shown: copy the file to whoever needs it."""
    from migratekit_core.config.load import require
    from migratekit_core.volumed.run import rotate_token

    seconds = _seconds(overlap)
    config = configuration(context)
    require(config, "daemon")
    assert config.daemon is not None, "require has seen to it"
    if dry_run:
        file = str(config.daemon.token_file)
        text = f"would write a new token to {file}; the old one would hold for {overlap} more"
        data = {"token_file": file, "overlap_seconds": seconds}
        render.result(output, "migratekit.token-rotate-plan/1", data, text=text)
        return
    confirm("Replace the volume daemon's token? Every client needs the new one.", yes)
    path, until = rotate_token(config, seconds)
    text = f"new token in {path}; the old one holds until {until:%Y-%m-%d %H:%M:%S} UTC\ncopy the file to the VMA"
    data = {"token_file": str(path), "old_token_until": f"{until:%Y-%m-%dT%H:%M:%S}"}
    render.result(output, "migratekit.token-rotate/1", data, text=text)


def _seconds(text: str) -> int:
    number, unit_name = text[:-1], text[-1:]
    if not number.isdecimal() or unit_name not in SECONDS or len(number) > 6:
        raise UsageError(
            f"--overlap {text!r} is no duration", "a number and s, m, h or d", "say --overlap 15m", code=ErrorCode.USAGE
        )
    return int(number) * SECONDS[unit_name]
