"""migratekit tunnel test"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.commands.tunnel.configured import configured
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.ui import render


@reported
def command(
    context: typer.Context,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=60, help="How long each direction of a service is filled.")
    ] = 1.0,
    output: OutputOption = Output.TABLE,
) -> None:
    """Measure latency and throughput of each service through the tunnel; exit 6 where one does not answer."""
    from migratekit_core.adapters.tunnel.measure import measure
    from migratekit_core.common.errors import UnreachableError

    found = measure(configured(context), seconds)
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
