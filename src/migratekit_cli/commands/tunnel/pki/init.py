"""migratekit tunnel pki init"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli.errors import reported


@reported
def command(
    folder: Annotated[Path, typer.Argument(help="Folder for the CA and the two hosts' certificates.")],
) -> None:
    """Make a CA, a certificate for the OMA (oma.pem) and one for this host (vma.pem)."""
    from migratekit_core.adapters.tunnel.pki import init as make

    for path in make(folder):
        typer.echo(str(path))
