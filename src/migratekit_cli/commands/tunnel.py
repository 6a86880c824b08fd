"""migratekit tunnel"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli import render
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import configuration
from migratekit_core.errors import UsageError

if TYPE_CHECKING:
    from migratekit_core.config.schema import Tunnel

app = typer.Typer(help="The TLS tunnel to the OMA: one port, mutual certificates.", no_args_is_help=True)
pki = typer.Typer(help="Certificates of the tunnel.", no_args_is_help=True)
server = typer.Typer(help="The OMA's end.", no_args_is_help=True)
app.add_typer(pki, name="pki")
app.add_typer(server, name="server")


@app.command("up")
@reported
def up(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Bring the local end up. Commands that need it do so by themselves, and share it."""
    from migratekit_core.tunnel import tls

    status = tls.up(_tls(context))
    render.result(output, "migratekit.tunnel/1", asdict(status), text=f"tunnel to {status.remote} is up ({status.pid})")


@app.command("down")
@reported
def down(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Stop the local end."""
    from migratekit_core.tunnel import tls

    stopped = tls.down(configuration(context).tunnel)
    text = "tunnel stopped" if stopped else "tunnel was not up"
    render.result(output, "migratekit.tunnel-down/1", {"stopped": stopped}, text=text)


@app.command("status")
@reported
def show_status(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show whether the local end is up and the OMA takes our certificate; exit 6 where not."""
    from migratekit_core.errors import UnreachableError
    from migratekit_core.tunnel import tls

    settings = _tls(context)
    status, problem = tls.status(settings), tls.probe(settings)
    text = f"local end: {'up' if status.up else 'down'}\nOMA {status.remote}: {problem or 'answers'}"
    data = {**asdict(status), "remote_answers": not problem, "remote_problem": problem}
    render.result(output, "migratekit.tunnel-status/1", data, text=text)
    if problem or not status.up:
        raise typer.Exit(UnreachableError.exit_code)


def _tls(context: typer.Context) -> Tunnel:
    settings = configuration(context).tunnel
    if settings.kind != "tls":
        raise UsageError("no tunnel is configured", f'tunnel.kind is "{settings.kind}"', "write a [tunnel] table")
    return settings


@pki.command("init")
@reported
def pki_init(
    folder: Annotated[Path, typer.Argument(help="Folder for the CA and the two hosts' certificates.")],
) -> None:
    """Make a CA, a certificate for the OMA (oma.pem) and one for this host (vma.pem)."""
    from migratekit_core.tunnel.pki import init

    for path in init(folder):
        typer.echo(str(path))


@server.command("render")
@reported
def server_render(
    certificate: Annotated[Path, typer.Option("--cert", help="The OMA's certificate with its key, in one PEM file.")],
    ca: Annotated[Path, typer.Option("--ca", help="The CA that the clients' certificates are checked with.")],
    listen: Annotated[str, typer.Option("--listen", help="Address and port to listen on.")] = "*:443",
    volumes: Annotated[str, typer.Option("--volumes", help="Address of the volume daemon.")] = "127.0.0.1:8090",
    db: Annotated[str, typer.Option("--db", help="Address of MariaDB.")] = "127.0.0.1:3306",
    nbd: Annotated[str, typer.Option("--nbd", help="Address of the NBD exports.")] = "127.0.0.1:10809",
) -> None:
    """Print the HAProxy configuration of the OMA's end."""
    from migratekit_core.tunnel.server import render as render_server

    typer.echo(render_server(listen, certificate, ca, {"volumes": volumes, "db": db, "nbd": nbd}), nl=False)
