"""The application: global options, and the commands by name."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.errors import reported
from migratekit_cli.group import group_class
from migratekit_cli.session import Globals, remember

COMMANDS = (
    "discover",
    "assess",
    "networks",
    "replicate",
    "verify",
    "test-failover",
    "failover",
    "rollback",
    "cleanup",
    "doctor",
    "report",
    "wave",
    "jobs",
    "fleet",
    "volumes",
    "tunnel",
    "db",
    "config",
)
OBJECTS_BEFORE_COLLECTION = 50_000

app = typer.Typer(
    name="migratekit",
    help="Move virtual machines from VMware vSphere to Apache CloudStack while they run.",
    no_args_is_help=True,
    cls=group_class("migratekit_cli.commands", COMMANDS),
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"migratekit {version('migratekit')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="Configuration file (TOML), instead of /etc/migratekit/config.toml and the user's own."
        ),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Profile of the configuration, a table profiles.NAME.")
    ] = None,
    vcenter: Annotated[
        str | None,
        typer.Option("--vcenter", metavar="NAME", help="Another vCenter: the table vcenters.NAME instead of vcenter."),
    ] = None,
    oma: Annotated[
        str | None, typer.Option("--oma", metavar="NAME", help="Through another OMA: the tables omas.NAME.")
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; stands before the command.")
    ] = False,
    record: Annotated[
        Path | None,
        typer.Option(
            "--record",
            metavar="FILE",
            envvar="MIGRATEKIT_RECORD",
            show_envvar=False,
            help="Add each call to CloudStack and vSphere and its answer to FILE, a JSON line each, without keys and "
            "secrets: for a report. Names of vSphere's are masked, CloudStack's stay. Also for the volume daemon.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep what every command needs to know."""
    if debug:
        os.environ["MIGRATEKIT_DEBUG"] = "1"
    if record is not None:
        _record(record)
    context.obj = Globals(config, profile, vcenter, oma)
    remember(context.obj)


@reported
def _record(path: Path) -> None:
    """Have what is said to CloudStack and vSphere recorded."""
    from migratekit_core.common.recording import begin

    begin(path)


def main() -> None:
    """Run the application."""
    # Loading modules makes many objects and no garbage: looking for it after every 700 costs a tenth of `jobs list`.
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION)
    app()


if __name__ == "__main__":
    main()
