"""migratekit tunnel server"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli import render
from migratekit_cli.ask import confirm
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import configuration
from migratekit_core.common.errors import MigrateKitError, PreconditionError, UsageError

if TYPE_CHECKING:
    from migratekit_core.adapters.tunnel.install import Finding
    from migratekit_core.config.schema import Config, TunnelServer

app = typer.Typer(help="The OMA's end.", no_args_is_help=True)

CertOption = Annotated[Path | None, typer.Option("--cert", help="The OMA's certificate with its key, in one PEM file.")]
CaOption = Annotated[Path | None, typer.Option("--ca", help="The CA that clients' certificates are checked with.")]
CrlOption = Annotated[Path | None, typer.Option("--crl", help="The CA's list of revoked certificates.")]
ListenOption = Annotated[str | None, typer.Option("--listen", help="Address and port to listen on.")]
VolumesOption = Annotated[str | None, typer.Option("--volumes", help="Address of the volume daemon.")]
DbOption = Annotated[str | None, typer.Option("--db", help="Address of MariaDB.")]
NbdOption = Annotated[str | None, typer.Option("--nbd", help="Address of the NBD exports.")]


@app.command("render")
@reported
def show(
    context: typer.Context,
    certificate: CertOption = None,
    ca: CaOption = None,
    crl: CrlOption = None,
    listen: ListenOption = None,
    volumes: VolumesOption = None,
    db: DbOption = None,
    nbd: NbdOption = None,
) -> None:
    """Print HAProxy's configuration for the OMA: of the table tunnel.server, or of these options."""
    from migratekit_core.adapters.tunnel.server import render as render_server

    typer.echo(render_server(_settings(context, certificate, ca, crl, listen, volumes, db, nbd)), nl=False)


@app.command("install")
@reported
def install(
    context: typer.Context,
    certificate: CertOption = None,
    ca: CaOption = None,
    crl: CrlOption = None,
    listen: ListenOption = None,
    volumes: VolumesOption = None,
    db: DbOption = None,
    nbd: NbdOption = None,
    user: Annotated[str, typer.Option("--user", help="User that HAProxy runs as.")] = "migratekit",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a validated configuration and a unit of its own, and start it; to repeat it changes nothing."""
    from migratekit_core.adapters.tunnel.install import install as set_up

    settings = _settings(context, certificate, ca, crl, listen, volumes, db, nbd)
    planned = set_up(settings, dry_run=True, user=user)
    if not dry_run and any(change.change == "write" for change in planned):
        confirm(f"Have HAProxy listen on {settings.listen}, and start it anew?", yes)
    done = planned if dry_run else set_up(settings, dry_run=False, user=user)
    table = render.Table("What", "Plan" if dry_run else "Done")
    for change in done:
        table.add(change.what, "skipped: systemd does not run here" if change.change == "skip" else change.change)
    data = {"dry_run": dry_run, "changes": [asdict(change) for change in done]}
    render.result(output, "migratekit.tunnel-server-install/1", data, table=table)


@app.command("check")
@reported
def check(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Check the OMA's end: certificates, configuration, unit, and whether it and the services answer; exit 4 if not."""
    from migratekit_core.adapters.tunnel.install import look

    found = look(_settings(context, None, None, None, None, None, None, None))
    _findings(output, found)
    if not all(finding.ok for finding in found):
        raise typer.Exit(PreconditionError.exit_code)


@app.command("authorize")
@reported
def authorize(
    context: typer.Context,
    key: Annotated[Path, typer.Argument(metavar="KEY.pub", help="The VMA's public SSH key.")],
    command: Annotated[Path, typer.Option("--migratekit", help="This program, as the OMA's user finds it.")] = Path(
        "/usr/local/bin/migratekit"
    ),
) -> None:
    """Print the line of authorized_keys that lets a key reach the three services, and nothing else."""
    from migratekit_core.adapters.tunnel.ssh.server import FACTS, authorized_line

    config = _config(context)
    services = config.tunnel.server or config.tunnel.services
    try:
        text = key.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{key} cannot be read", str(error), "name the .pub file") from None
    typer.echo(authorized_line(text.strip(), services.addresses, f"{command} {FACTS}"))


@app.command("facts")
@reported
def facts(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show this host's services, versions, room and recent errors: what doctor --remote asks an OMA for."""
    from migratekit_core.adapters.tunnel.expiry import warnings
    from migratekit_core.adapters.tunnel.facts import facts_here, to_dict
    from migratekit_core.common.units import human_bytes

    config = _config(context)
    found = facts_here(config, warnings(config))
    table = render.Table("Fact", "Value")
    for service in found.services:
        state = f"{service.state}, " if service.state else ""
        answers = "answers" if service.answers else "does not answer"
        table.add(f"service {service.name}", f"{state}{answers} on {service.address}")
    for name, text in found.versions.items():
        table.add(f"version {name}", text)
    for disk in found.disks:
        table.add(f"disk {disk.path}", f"{human_bytes(disk.free)} of {human_bytes(disk.total)} free")
    for error in found.errors:
        table.add(f"error {error.at}", f"{error.unit}: {error.text}")
    if not found.errors_known:
        table.add("errors", "the journal cannot be read")
    render.result(output, "migratekit.oma-facts/1", to_dict(found), table=table)


def _findings(output: Output, found: list[Finding]) -> None:
    table = render.Table("Check", "Result", "Detail", "Do")
    for finding in found:
        table.add(finding.check, "ok" if finding.ok else "FAILED", finding.detail, "" if finding.ok else finding.todo)
    data = {"ok": all(finding.ok for finding in found), "checks": [asdict(finding) for finding in found]}
    render.result(output, "migratekit.tunnel-server-check/1", data, table=table)


def _config(context: typer.Context) -> Config:
    """Return the configuration; where this user may not read it (an OMA's SSH user), the defaults."""
    from migratekit_core.config.schema import Config

    try:
        return configuration(context)
    except (MigrateKitError, PermissionError):
        if context.obj.config is not None:
            raise
        return Config()


def _settings(
    context: typer.Context,
    certificate: Path | None,
    ca: Path | None,
    crl: Path | None,
    listen: str | None,
    volumes: str | None,
    db: str | None,
    nbd: str | None,
) -> TunnelServer:
    from migratekit_core.config.load import tunnel_server

    given = {
        "cert_file": certificate, "ca_file": ca, "crl_file": crl, "listen": listen,
        "volumes": volumes, "db": db, "nbd": nbd,
    }  # fmt: skip
    return tunnel_server(configuration(context), {name: value for name, value in given.items() if value is not None})
