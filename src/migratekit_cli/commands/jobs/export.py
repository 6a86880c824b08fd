"""migratekit jobs export"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import KindsOption, OwnersOption, SinceOption, StatusesOption
from migratekit_cli.session import runtime
from migratekit_cli.ui import plain
from migratekit_cli.ui.render import count
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError

LOT = 100
"""Jobs that are read at once."""


@reported
def command(
    context: typer.Context,
    jobs: Annotated[list[str] | None, typer.Argument(metavar="[JOB]…", help="Ids, or how they begin.")] = None,
    vm: OwnersOption = None,
    kind: KindsOption = None,
    status: StatusesOption = None,
    since: SinceOption = None,
    file: Annotated[Path | None, typer.Option("--file", metavar="FILE", help="Instead of stdout; mode 0600.")] = None,
    otel: Annotated[
        bool, typer.Option("--otel", help="Send them to the collector of the table otel as traces instead.")
    ] = False,
) -> None:
    """Write jobs as JSON lines, each with its steps, its events and the jobs within it, the oldest first."""
    from migratekit_core.db.schema import require_schema
    from migratekit_core.joblog.export import document
    from migratekit_core.joblog.listing import Filter
    from migratekit_core.joblog.search import find, trees
    from migratekit_core.joblog.show import one

    if jobs and (vm or kind or status or since):
        raise UsageError(
            "jobs are named and filtered",
            "one of both is enough",
            "leave out the ids or the filters",
            code=ErrorCode.USAGE,
        )
    wanted = Filter(tuple(vm or ()), tuple(kind or ()), tuple(status or ()), since, nested=False, limit=None)
    with runtime(context) as opened:
        require_schema(opened.databases, ("oma",))
        opened.tracker.mark_interrupted()
        engine = opened.databases.oma
        found = [one(opened.tracker, job) for job in jobs] if jobs else find(engine, wanted)[::-1]
        lots = (trees(engine, found[start : start + LOT]) for start in range(0, len(found), LOT))
        if otel:
            spans = opened.traces().send(tree for lot in lots for tree in lot)
            plain.err(f"{count(len(found), 'job')} sent, {count(spans, 'span')}")
            return
        with _target(file) as stream:
            for lot in lots:
                for tree in lot:
                    stream.write(json.dumps(document(tree)) + "\n")
    if file is not None:
        plain.err(f"{count(len(found), 'job')} written to {file}")


@contextmanager
def _target(file: Path | None) -> Iterator[IO[str]]:
    """Yield stdout, or a file that appears when it is complete."""
    if file is None:
        yield sys.stdout
        return
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as stream:
            yield stream
        beside.replace(file)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written",
            error.strerror or str(error),
            "name another file",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(file)},
        ) from None
    finally:
        beside.unlink(missing_ok=True)
