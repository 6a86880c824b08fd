"""migratekit tunnel pki revoke"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from migratekit_cli.commands.tunnel.pki.folder import DEFAULT_FOLDER, FolderOption, NameArgument
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import as_given
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_core.common.hints import on_oma


@reported
def command(
    name: NameArgument,
    old: Annotated[bool, typer.Option("--old", help="All but the newest.")] = False,
    folder: FolderOption = DEFAULT_FOLDER,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a host's certificates, and write the list (crl.pem) that HAProxy and the commands go by."""
    from migratekit_core.adapters.tunnel import pki

    which = "all but the newest certificate" if old else "every certificate"
    if dry_run:
        _, issued = pki.show(folder)
        mine = [one for one in issued if one.name == name and not one.revoked_at]
        serials = [one.serial for one in (mine[:-1] if old else mine)]
        text = "\n".join(f"would revoke {name} {serial}" for serial in serials) or "nothing to revoke"
        render.result(output, "migratekit.pki-revoke-plan/1", {"name": name, "serials": serials}, text=text)
        return
    confirm(f"Revoke {which} of {name}? It cannot be taken back.", yes)
    revoked = pki.revoke(folder, name, old_only=old)
    lines = [f"revoked {one.name} {one.serial}" for one in revoked]
    lines.append(
        as_given(f"copy {folder / pki.CRL_FILE} to all hosts; on the OMA: ", on_oma("tunnel", "server", "install"))
    )
    data = {"revoked": [asdict(one) for one in revoked], "crl_file": str(folder / pki.CRL_FILE)}
    render.result(output, "migratekit.pki-revoke/1", data, text="\n".join(lines))
