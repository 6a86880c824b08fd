"""migratekit jobs tail"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption, OwnersOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import plain, render
from migratekit_core.common.visible import one_line

if TYPE_CHECKING:
    from migratekit_core.context import Runtime
    from migratekit_core.joblog.records import Record

POLL_SECONDS = 1.0
RECENT = timedelta(hours=1)
"""Without a job: what ran so recently."""
COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m"}


@reported
def command(
    context: typer.Context,
    job: Annotated[
        str | None, typer.Argument(metavar="[JOB]", help="Id, or how it begins; without it all that ran lately.")
    ] = None,
    vm: OwnersOption = None,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of what is there already.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what a job and the jobs within it recorded, line by line; JSON and YAML are a document for each line."""
    from migratekit_core.common.errors import UnreachableError
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.records import records
    from migratekit_core.joblog.states import RUNNING

    with runtime(context, watched=False) as opened:
        require_schema(opened.databases, ("oma",))
        seen: set[str] = set()
        missing = False
        while True:
            try:
                opened.tracker.mark_interrupted()
                found = _found(opened, job, tuple(vm or ()))
                missing = False
            except UnreachableError as error:
                if not seen:
                    raise
                if not missing:
                    plain.err(f"{error}: trying again")
                missing = True
                time.sleep(POLL_SECONDS)
                continue
            new = sorted(
                (line for tree in found for line in records(tree) if line.key not in seen), key=lambda line: line.at
            )
            _write(new if seen else new[len(new) - min(lines, len(new)) :], output)
            seen |= {line.key for line in new} | {""}
            if not follow or (job is not None and found[0].job.status != RUNNING):
                return
            time.sleep(POLL_SECONDS)


def _found(opened: Runtime, job: str | None, owners: tuple[str, ...]) -> list[Any]:
    from migratekit_core.db.models.base import utcnow
    from migratekit_core.joblog.listing import Filter
    from migratekit_core.joblog.search import find, trees
    from migratekit_core.joblog.show import tree

    if job is not None:
        return [tree(opened.tracker, job)]
    recent = find(opened.databases.oma, Filter(owners=owners, since=utcnow() - RECENT, limit=200))
    return trees(opened.databases.oma, recent)


def _write(lines: Iterable[Record], output: Output) -> None:
    for line in lines:
        if output is Output.TABLE:
            sys.stdout.write(_text(line, sys.stdout.isatty()) + "\n")
            continue
        told = {
            "at": line.at.isoformat(),
            "level": line.level,
            "job_id": line.job_id,
            "kind": line.kind,
            "vm": line.owner,
            "step": line.step,
            "event": line.event,
            "message": line.message,
            "fields": line.fields,
        }
        render.piece(output, "migratekit.job-line/1", told)
    sys.stdout.flush()


def _text(line: Record, terminal: bool) -> str:
    place = f"{line.job_id[:8]} {line.owner} {line.kind}" + (f"/{line.step}" if line.step else "")
    told = "".join(f" {name}={_value(value)}" for name, value in line.fields.items() if value not in ("", None))
    level = "" if line.level == "info" else f"{line.level}: "
    text = one_line(f"{line.at:%H:%M:%S} {place}: {level}{line.message}{told}")
    if not terminal or line.level not in COLOURS or os.environ.get("NO_COLOR"):
        return text
    return f"{COLOURS[line.level]}{text}\x1b[0m"


def _value(value: object) -> str:
    text = json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)
    return f'"{text}"' if " " in text else text
