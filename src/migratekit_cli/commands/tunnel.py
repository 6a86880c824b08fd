"""migratekit tunnel"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from migratekit_cli import render
from migratekit_cli.commands import tunnel_pki, tunnel_server
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.session import as_given, configuration
from migratekit_core.common.errors import UsageError

if TYPE_CHECKING:
    from migratekit_core.config.schema import Config

app = typer.Typer(help="The tunnel to the OMA: one port, both sides proven to each other.", no_args_is_help=True)
app.add_typer(tunnel_pki.app, name="pki")
app.add_typer(tunnel_server.app, name="server")


@app.command("up")
@reported
def up(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Bring the local end up. Commands that need it do so by themselves, and share it."""
    from migratekit_core.adapters.tunnel import local

    status = local.up(_configured(context).tunnel)
    render.result(output, "migratekit.tunnel/1", asdict(status), text=f"tunnel to {status.remote} is up ({status.pid})")


@app.command("down")
@reported
def down(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Stop the local end."""
    from migratekit_core.adapters.tunnel import local

    stopped = local.down(configuration(context).tunnel)
    text = "tunnel stopped" if stopped else "tunnel was not up"
    render.result(output, "migratekit.tunnel-down/1", {"stopped": stopped}, text=text)


@app.command("status")
@reported
def show_status(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show whether the local end is up and the OMA takes us; exit 5 where it refuses us, 6 where it does not answer."""
    from migratekit_core.adapters.tunnel import local
    from migratekit_core.adapters.tunnel.probe import probe
    from migratekit_core.common.errors import UnreachableError

    settings = _configured(context).tunnel
    status, seen = local.status(settings), probe(settings)
    problem = seen.problem
    ends = f", its certificate holds until {seen.certificate_ends:%Y-%m-%d}" if seen.certificate_ends else ""
    answer = f"{problem}\n  do: {as_given(problem.todo)}" if problem else f"answers ({seen.protocol}{ends})"
    text = f"local end: {'up' if status.up else 'down'}\nOMA {status.remote}: {answer}"
    data = {
        **asdict(status),
        "remote_answers": problem is None,
        "remote_problem": str(problem) if problem else "",
        "remote_todo": str(problem.todo) if problem else "",
        "protocol": seen.protocol,
        "oma_certificate_ends": seen.certificate_ends.isoformat() if seen.certificate_ends else None,
    }
    render.result(output, "migratekit.tunnel-status/1", data, text=text)
    if problem is not None:
        raise typer.Exit(problem.exit_code)
    if not status.up:
        raise typer.Exit(UnreachableError.exit_code)


@app.command("test")
@reported
def test(
    context: typer.Context,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=60, help="How long each direction of a service is filled.")
    ] = 1.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure latency and throughput of each service through the tunnel; exit 6 where one does not answer."""
    from migratekit_core.adapters.tunnel.measure import measure
    from migratekit_core.common.errors import UnreachableError

    found = measure(_configured(context), seconds)
    table = render.Table("Service", "Latency", "Up", "Down", "Problem", right=("Latency", "Up", "Down"))
    for one in found:
        latency = "" if one.latency is None else f"{one.latency * 1000:.2f} ms"
        table.add(one.service, latency, _rate(one.up), _rate(one.down), one.problem)
    services = [
        {
            "service": one.service,
            "latency_seconds": one.latency,
            "up_bytes_per_second": one.up,
            "down_bytes_per_second": one.down,
            "problem": one.problem,
        }
        for one in found
    ]
    render.result(output, "migratekit.tunnel-test/1", {"services": services}, table=table)
    if any(one.problem for one in found):
        raise typer.Exit(UnreachableError.exit_code)


def _rate(value: float | None) -> str:
    from migratekit_core.common.units import human_bytes

    return "" if value is None else f"{human_bytes(int(value))}/s"


def _configured(context: typer.Context) -> Config:
    config = configuration(context)
    if not config.tunnel.leads_away:
        raise UsageError("no tunnel is configured", 'tunnel.kind is "none"', "write a [tunnel] table")
    return config
