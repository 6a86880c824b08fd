"""migratekit tunnel pki rotate"""

from __future__ import annotations

from typing import Annotated

import typer

from migratekit_cli.commands.tunnel.pki.folder import CA, DEFAULT_FOLDER, FolderOption, written
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import as_given
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import confirm
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import on_oma


@reported
def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Host's name; ca for the CA itself.")],
    finish: Annotated[bool, typer.Option("--finish", help="With ca: end a rotation, dropping the old CA.")] = False,
    folder: FolderOption = DEFAULT_FOLDER,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue a new certificate in place of a host's; the old one stays valid until revoked or expired."""
    from migratekit_core.adapters.tunnel import pki

    if finish and name != CA:
        raise UsageError("--finish is for the CA", f"not for {name}", "leave it out", code=ErrorCode.USAGE)
    if dry_run:
        pki.show(folder)
        what = (
            ("drop the old CA" if finish else "make a new CA beside the old one") if name == CA else "issue a new one"
        )
        render.result(output, "migratekit.pki-plan/1", {"name": name, "action": what}, text=f"would {what} ({name})")
        return
    if name == CA:
        question = (
            "Drop the old CA? Hosts with its certificates are refused." if finish else "Put a new CA beside the old?"
        )
        confirm(question, yes)
        path = pki.finish_ca(folder) if finish else pki.rotate_ca(folder)
        todo = (
            as_given("copy ca.pem and crl.pem to all hosts; on the OMA: ", on_oma("tunnel", "server", "install"))
            if finish
            else "copy ca.pem and crl.pem to all hosts; rotate each host; end with: tunnel pki rotate ca --finish"
        )
        written(output, path, f"{path}\n{todo}")
        return
    path = pki.rotate(folder, name)
    written(output, path, f"{path}\ncopy it to {name}; then revoke the old one: tunnel pki revoke {name} --old")
