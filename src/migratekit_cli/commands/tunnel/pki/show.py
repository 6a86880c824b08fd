"""migratekit tunnel pki show"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime

from migratekit_cli.commands.tunnel.pki.folder import CA, DEFAULT_FOLDER, FolderOption
from migratekit_cli.errors import reported
from migratekit_cli.options import Output, OutputOption
from migratekit_cli.ui import render


@reported
def command(folder: FolderOption = DEFAULT_FOLDER, output: OutputOption = Output.TABLE) -> None:
    """Show the CA and every certificate that it issued, with what state each is in."""
    from migratekit_core.adapters.tunnel import pki

    authorities, issued = pki.show(folder)
    now = datetime.now(UTC)
    table = render.Table("Name", "For", "State", "Until", "Serial", "Valid for")
    for authority in authorities:
        state = "being replaced" if authority.replaced else "valid"
        table.add(CA, "CA", state, authority.not_after[:10], "", authority.name)
    for one in issued:
        end = f"fleet {one.fleet}" if one.fleet else "OMA" if one.server else "VMA"
        table.add(one.name, end, one.state(now), one.not_after[:10], one.serial, ", ".join(one.names))
    data = {
        "authorities": [asdict(authority) for authority in authorities],
        "issued": [{**asdict(one), "fleet": one.fleet, "state": one.state(now)} for one in issued],
    }
    render.result(output, "migratekit.pki/1", data, table=table)
