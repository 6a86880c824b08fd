"""migratekit wave show"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.commands.wave import waveplan
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import as_given, configuration, runtime
from migratekit_cli.ui import render
from migratekit_core.common.units import human_bytes

if TYPE_CHECKING:
    from migratekit_core.services.waves.look import Snapshot
    from migratekit_core.services.waves.model import Wave


@reported
def command(
    context: typer.Context,
    wave: Annotated[str, typer.Argument(metavar="WAVE|FILE", help="Name of a wave, or a wave file, which is checked.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show every machine of a wave: where it is, where it goes, what it waits for, how it stands, and what failed.

    Of a file it is also checked whether the configuration has the vCenters and OMAs that it names.
    """
    if _is_file(wave):
        _show_file(context, Path(wave), output)
        return
    from migratekit_core.db.schema import require_schema
    from migratekit_core.services.waves.look import snapshot
    from migratekit_core.services.waves.store import find

    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        _, whole = find(opened.databases.oma, wave)
        seen = snapshot(opened.databases.oma, wave)
    _show_stored(whole, seen, output)


def _is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) or "/" in text


def _show_file(context: typer.Context, path: Path, output: Output) -> None:
    from migratekit_core.services.waves import files
    from migratekit_core.services.waves.resolve import check

    found = files.load(path)
    check(configuration(context), found)
    table = render.Table(
        "MACHINE", "STAGE", "GROUP", "VCENTER", "OMA", "HOST", "DATASTORES", "DATA", right=("STAGE", "DATA")
    )
    for each in found.machines:
        table.add(
            each.name, each.stage, each.group, each.vcenter, each.oma, each.host, ", ".join(each.datastores),
            human_bytes(each.data_bytes),
        )  # fmt: skip
    text = "\n".join(waveplan.about(found)) if output is Output.TABLE else ""
    render.result(output, "migratekit.wave-file/1", waveplan.document(found), table, text)


def _show_stored(wave: Wave, seen: Snapshot, output: Output) -> None:
    from migratekit_cli.commands.wave import waveview

    table = render.Table(
        "MACHINE", "STATE", "STAGE", "OMA", "HOST", "BYTES", "ATTEMPTS", "WORKER", "JOB", "WHAT IS WRONG",
        right=("STAGE", "BYTES", "ATTEMPTS"),
    )  # fmt: skip
    for each in seen.machines:
        wrong = f"{each.error.what}: {each.error.why}; {as_given(each.error.todo)}" if each.error else ""
        state = f"{each.state} ({each.task})" if each.state in ("running", "failed") else each.state
        size = f"{human_bytes(each.bytes_done)} of {human_bytes(each.bytes_total)}"
        job = (each.job_id or "")[:8]
        table.add(each.name, state, each.stage, each.oma, each.host, size, each.attempts, each.worker, job, wrong)
    data = {**waveview.document(seen), "file": waveplan.document(wave)}
    text = "\n".join(waveplan.about(wave)) if output is Output.TABLE else ""
    render.result(output, "migratekit.wave/1", data, table, text)
