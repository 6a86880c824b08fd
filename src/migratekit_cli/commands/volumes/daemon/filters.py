"""migratekit volumes daemon filters"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption
from migratekit_cli.ui import render


@reported
def command(
    own: Annotated[
        list[Path] | None,
        typer.Option(
            "--own", metavar="DEVICE", help="A further disk of this machine's own, not in use yet; repeatable."
        ),
    ] = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Keep this machine's Linux from activating what is in replicas: LVM, md, multipath, btrfs, udisks; to repeat it
    changes nothing.

    They are told which disks are the machine's own: those below what is mounted and swapped to, with their volume
    groups. What is on any other disk is left alone, also after a restart.
    """
    from migratekit_core.volumed import run

    todo = run.plan_filters(own or ())
    about = [f"own disk: {disk.name}, {disk.serial or disk.path}" for disk in todo.own.disks]
    if not dry_run:
        run.write_filters(todo)
    table = render.Table("What", "Plan" if dry_run else "Done")
    for line in about:
        table.add(line, "known")
    changes = [(str(path), "write" if path in todo.changed else "same") for path, _ in todo.files]
    changes += [(" ".join(words), "run") for words in todo.commands]
    for what, change in changes:
        table.add(what, change)
    data = {
        "dry_run": dry_run,
        "own": [{"name": disk.name, "serial": disk.serial, "path": disk.path} for disk in todo.own.disks],
        "changes": [{"what": what, "change": change} for what, change in changes],
    }
    render.result(output, "migratekit.daemon-filters/1", data, table=table)
