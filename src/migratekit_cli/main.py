"""The application: global options, and the commands by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.commands import (
    assess,
    cleanup,
    config,
    db,
    discover,
    doctor,
    failover,
    fleet,
    jobs,
    networks,
    replicate,
    report,
    rollback,
    test_failover,
    tunnel,
    verify,
    volumes,
    wave,
)
from migratekit_cli.errors import reported
from migratekit_cli.session import Globals, remember

COMPLETING = "_MIGRATEKIT_COMPLETE"
"""Set by a shell that completes a command line: it may go on with any command."""

app = typer.Typer(
    name="migratekit",
    help="Move virtual machines from VMware vSphere to Apache CloudStack while they run.",
    no_args_is_help=True,
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
            help="Add each call to CloudStack and its answer to FILE, a JSON line each, without keys and secrets "
            "(names of machines and volumes stay): for a report. Also for the volume daemon, which makes most calls.",
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
    """Have what is said to CloudStack recorded."""
    from migratekit_core.adapters.cloudstack.record import begin

    begin(path)


app.command()(discover.discover)
app.command()(assess.assess)
app.command()(networks.networks)
app.command()(replicate.replicate)
app.command()(verify.verify)
app.command("test-failover")(test_failover.test_failover)
app.command()(failover.failover)
app.command()(rollback.rollback)
app.command()(cleanup.cleanup)
app.command()(doctor.doctor)
app.add_typer(wave.app, name="wave")
app.add_typer(jobs.app, name="jobs")
app.command()(report.report)
app.add_typer(fleet.app, name="fleet")
app.add_typer(volumes.app, name="volumes")
app.add_typer(tunnel.app, name="tunnel")
app.add_typer(db.app, name="db")
app.add_typer(config.app, name="config")


def main() -> None:
    """Run the application."""
    if COMPLETING not in os.environ:
        _leave_out(sys.argv)
    app()


def _leave_out(words: Sequence[str]) -> None:
    """Empty the groups of commands that are not asked for: typer reads the options of each, a fifth of the start."""
    for group in app.registered_groups:
        if group.name not in words and group.typer_instance is not None:
            group.typer_instance = typer.Typer(help=group.typer_instance.info.help)


if __name__ == "__main__":
    main()
