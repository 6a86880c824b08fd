"""migratekit wave plan"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli.commands.wave import waveplan
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption
from migratekit_cli.session import configuration, runtime
from migratekit_cli.ui import plain, render
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError

if TYPE_CHECKING:
    from migratekit_core.services.waves.planning.estimate import Measured
    from migratekit_core.services.waves.planning.plan import Plan
    from migratekit_core.services.waves.rules import Rules


@reported
def command(
    context: typer.Context,
    inventories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INVENTORY]…",
            help="Files of `discover --output json`; - for stdin; NAME=FILE of another vCenter; without any, vSphere.",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="What belongs together, goes where, and how large a wave may be."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Write a file for each wave; without it nothing is written."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace wave files that are there.")] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Beginning of the waves' names, instead of the rules'.")
    ] = None,
    vcenters: Annotated[
        list[str] | None,
        typer.Option(
            "--from", metavar="NAME", help="Read vcenters.NAME of the configuration instead of vcenter; repeatable."
        ),
    ] = None,
    assessment: Annotated[
        Path | None,
        typer.Option("--assessment", metavar="FILE", help="Blocked is what this `assess --output json` blocks."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="File of findings that are accepted, and block nothing."),
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option("--bandwidth", metavar="RATE", help="Of the link, for the durations, such as 1Gbit/s."),
    ] = None,
    history: Annotated[
        bool,
        typer.Option("--history", help="From the database: how fast earlier syncs were, and which machines are taken."),
    ] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Plan waves: which machines are moved together, in which order, where to, and how long that takes.

    What assess blocks is left out, and so is what the rules leave out; the plan says why. Changes nothing in vSphere or
    CloudStack.
    """
    from migratekit_core.services.assessment.sizing import parse_bandwidth
    from migratekit_core.services.waves import sources
    from migratekit_core.services.waves.planning.plan import plan as make
    from migratekit_core.services.waves.planning.plan import with_rates
    from migratekit_core.services.waves.rules import Rules, load

    wanted = with_rates(
        load(rules) if rules is not None else Rules(), parse_bandwidth(bandwidth) if bandwidth is not None else None
    )
    if name is not None:
        wanted = _named(wanted, name)
    if assessment is not None and baseline is not None:
        raise UsageError(
            "--assessment and --baseline do not go together",
            "the assessment was made with a baseline, or without",
            "give the baseline to assess",
            code=ErrorCode.USAGE,
        )
    config = configuration(context)
    read = [sources.parse(text) for text in inventories or ()]
    read += [sources.Inventory(each) for each in vcenters or ()]
    machines, kept_out = sources.gather(config, read or [sources.Inventory()], wanted, baseline)
    if assessment is not None:
        kept_out = sources.judged(assessment, machines)
    measured: Measured | None = None
    if history:
        from migratekit_core.db.schema import require_schema
        from migratekit_core.services.waves import rates

        with runtime(context, watched=False) as opened:
            require_schema(opened.databases, ("oma",))
            measured = rates.measured(opened.databases.oma)
            kept_out |= sources.not_free(machines, rates.taken(opened.databases.oma))
    made = make(machines, wanted, kept_out, measured)
    files = _files(made, out, force)
    if out is not None and not dry_run:
        _write(made, files)
    _show(made, files, output)
    if out is None or dry_run:
        reason = "--dry-run" if dry_run else "without --out"
        plain.err(f"nothing is written ({reason})")


def _named(rules: Rules, name: str) -> Rules:
    from pydantic import ValidationError

    from migratekit_core.services.waves.model import WAVE_NAME

    try:
        return replace(rules, name=WAVE_NAME.validate_python(name))
    except ValidationError:
        raise UsageError(
            f"--name {name!r} is no name of waves",
            "it may have letters, digits and . _ - only",
            "choose another one",
            code=ErrorCode.USAGE,
        ) from None


def _files(made: Plan, out: Path | None, force: bool) -> dict[str, Path]:
    """Return the file of each wave, by its name. Raises PreconditionError where one is there already."""
    if out is None:
        return {}
    files = {wave.name: out / f"{wave.name}.yaml" for wave in made.waves}
    there = [path for path in files.values() if path.exists()]
    if there and not force:
        raise PreconditionError(
            f"{there[0]} is there already",
            f"{len(there)} of {len(files)} wave files would be replaced",
            "name another folder, or add --force",
            code=ErrorCode.FILE_EXISTS,
            facts={"path": str(there[0])},
        )
    return files


def _write(made: Plan, paths: dict[str, Path]) -> None:
    from migratekit_core.services.waves import files

    for wave in made.waves:
        path = paths[wave.name]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.save(wave, path)
        except OSError as error:
            raise UsageError(
                f"wave file {path} cannot be written",
                error.strerror or str(error),
                "name another folder",
                code=ErrorCode.FILE_UNWRITABLE,
                facts={"path": str(path)},
            ) from None
        plain.err(f"wave file: {path}")


def _show(made: Plan, files: dict[str, Path], output: Output) -> None:
    data = {
        "waves": [
            {**waveplan.document(wave), "file": str(files[wave.name]) if wave.name in files else None}
            for wave in made.waves
        ],
        "left_out": [asdict(each) for each in made.left_out],
        "notes": list(made.notes),
    }
    render.result(output, "migratekit.wave-plan/1", data, waveplan.table(made))
    if output is Output.TABLE:
        for line in waveplan.notes(made):
            plain.err(line)
