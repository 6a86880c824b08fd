"""migratekit tunnel server facts"""

from __future__ import annotations

import typer

from migratekit_cli.commands.tunnel.server.settings import config_or_defaults
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.ui import render


@reported
def command(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show this host's services, versions, room and recent errors: what doctor --remote asks an OMA for."""
    from migratekit_core.adapters.tunnel.expiry import warnings
    from migratekit_core.adapters.tunnel.facts import facts_here, to_dict
    from migratekit_core.common.units import human_bytes

    config = config_or_defaults(context)
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
