"""migratekit tunnel pki"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from migratekit_cli import render
from migratekit_cli.ask import confirm
from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption, YesOption
from migratekit_cli.session import as_given
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import on_oma

app = typer.Typer(help="Certificates of the tunnel.", no_args_is_help=True)

DEFAULT_FOLDER = Path("/root/migratekit-pki")
FolderOption = Annotated[Path, typer.Option("--folder", help="Folder of the CA, as made by init.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Host's name, as shown by show.")]
CA = "ca"


@app.command("init")
@reported
def init(
    folder: Annotated[Path, typer.Argument(help="Folder for the CA and the two hosts' certificates.")],
) -> None:
    """Make a CA, a certificate for the OMA (oma.pem) and one for this host (vma.pem)."""
    from migratekit_core.adapters.tunnel.pki import init as make

    for path in make(folder):
        typer.echo(str(path))


@app.command("issue")
@reported
def issue(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Host's name; the file will be NAME.pem.")],
    server: Annotated[bool, typer.Option("--server", help="For an OMA; without it, for a VMA.")] = False,
    also: Annotated[list[str] | None, typer.Option("--also", help="A further name or address; repeatable.")] = None,
    fleet: Annotated[
        str,
        typer.Option(
            "--fleet",
            metavar="ROLE",
            help="Its part in a fleet, too: scheduler, worker or client. Who has one may run code on every worker.",
        ),
    ] = "",
    folder: FolderOption = DEFAULT_FOLDER,
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue a certificate for a further host, of a tunnel or a fleet."""
    from migratekit_core.adapters.tunnel import SERVICES, pki

    if server and fleet:
        raise UsageError("--server and --fleet exclude each other", "an OMA is no part of a fleet", "pass one of them")
    names = [*(SERVICES if server else ()), *(also or [])]
    path = pki.issue(folder, name, server=server, names=names, fleet=fleet)
    _written(output, path, f"{path}\ncopy it to {name}, mode 0600")


@app.command("rotate")
@reported
def rotate(
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
        raise UsageError("--finish is for the CA", f"not for {name}", "leave it out")
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
        _written(output, path, f"{path}\n{todo}")
        return
    path = pki.rotate(folder, name)
    _written(output, path, f"{path}\ncopy it to {name}; then revoke the old one: tunnel pki revoke {name} --old")


@app.command("revoke")
@reported
def revoke(
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


@app.command("show")
@reported
def show(folder: FolderOption = DEFAULT_FOLDER, output: OutputOption = Output.TABLE) -> None:
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


def _written(output: Output, path: Path, text: str) -> None:
    render.result(output, "migratekit.pki-file/1", {"file": str(path)}, text=text)
