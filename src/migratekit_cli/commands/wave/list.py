"""migratekit wave list"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """List the waves that the database knows, the newest first, and how many machines of each are in which state."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.db.wavestates import STATES
    from migratekit_core.services.waves.store import listing

    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        found = listing(opened.databases.oma)
    table = render.Table("WAVE", "STATUS", "MACHINES", "STATES", "BEGAN (UTC)", "ENDED (UTC)", right=("MACHINES",))
    rows = []
    for each in found:
        wave = each.stored
        status = (
            wave.status
            + (", paused" if wave.paused else "")
            + (", cancelled" if wave.cancel_asked and wave.status != "cancelled" else "")
        )
        states = ", ".join(f"{each.counts[state]} {state}" for state in STATES if each.counts.get(state))
        table.add(wave.name, status, sum(each.counts.values()), states, _time(wave.started_at), _time(wave.ended_at))
        plain = {
            key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(wave).items()
        }
        rows.append(
            {"wave": plain.pop("name"), **plain, "counts": {state: each.counts.get(state, 0) for state in STATES}}
        )
    render.result(output, "migratekit.waves/1", {"waves": rows}, table)


def _time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else ""
