"""migratekit config init"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migratekit_cli.errors import reported
from migratekit_cli.options import DryRunOption, Output, OutputOption
from migratekit_cli.session import Globals, as_given
from migratekit_cli.ui import render
from migratekit_cli.ui.ask import hidden, possible
from migratekit_cli.ui.ask import text as ask
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import hint, migratekit, program

if TYPE_CHECKING:
    from migratekit_core.config.draft import Role
    from migratekit_core.config.secret import SecretSource

SYSTEM_FILE = Path("/etc/migratekit/config.toml")


class RoleOption(StrEnum):
    """What a host is."""

    VMA = "vma"
    OMA = "oma"
    SINGLE = "single"


@reported
def command(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            help="File to write; left out: --config's, else root's /etc/migratekit/config.toml or your own."
        ),
    ] = None,
    role: Annotated[
        RoleOption,
        typer.Option("--role", help="vma: this host reads vSphere; oma: the volume daemon's; single: both in one."),
    ] = RoleOption.VMA,
    vcenter_host: Annotated[str | None, typer.Option("--vcenter-host", help="vCenter or ESXi host.")] = None,
    vcenter_user: Annotated[str | None, typer.Option("--vcenter-user", help="Its user.")] = None,
    vcenter_ca: Annotated[str | None, typer.Option("--vcenter-ca", help="CA of its certificate.")] = None,
    api_url: Annotated[str | None, typer.Option("--api-url", help="CloudStack's API, https://…/client/api.")] = None,
    zone: Annotated[str | None, typer.Option("--zone", help="CloudStack zone.")] = None,
    service_offering: Annotated[str | None, typer.Option("--service-offering", help="Of new machines.")] = None,
    disk_offering: Annotated[str | None, typer.Option("--disk-offering", help="Of volumes; custom size.")] = None,
    template: Annotated[str | None, typer.Option("--template", help="Template whose root disk is swapped.")] = None,
    oma_vm: Annotated[str | None, typer.Option("--oma-vm", help="The OMA's machine in CloudStack.")] = None,
    test_network: Annotated[str | None, typer.Option("--test-network", help="Isolated network.")] = None,
    oma_host: Annotated[str | None, typer.Option("--oma-host", help="The OMA's address.")] = None,
    database: Annotated[str | None, typer.Option("--database", help="mariadb or sqlite.")] = None,
    others: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="TABLE.KEY=VALUE", help="Any other setting; may be repeated."),
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(
            "--secret",
            metavar="TABLE.KEY=SOURCE",
            help="Where a secret is: file:PATH, env:NAME, command:LINE or keyring:SERVICE/USER; may be repeated.",
        ),
    ] = None,
    generate: Annotated[
        bool, typer.Option("--generate", help="Make token, database password and encryption key where none is yet.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a configuration that is there.")] = False,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write a first configuration, mode 0600: asks on a terminal, takes options in scripts. It never holds a secret."""
    from migratekit_core.config import draft
    from migratekit_core.config.secret import SecretSource

    given = {
        "vcenter.host": vcenter_host,
        "vcenter.user": vcenter_user,
        "vcenter.ca_file": vcenter_ca,
        "ossea.api_url": api_url,
        "ossea.zone": zone,
        "ossea.service_offering": service_offering,
        "ossea.disk_offering": disk_offering,
        "ossea.template": template,
        "ossea.oma_vm": oma_vm,
        "networks.test": test_network,
        "tunnel.host": oma_host,
        "database.kind": database,
    }
    kind: Role = role.value
    path = _target(context, file)
    # The folder must mean the same from everywhere: secrets are looked for in it.
    folder = path.absolute().parent
    answers = _answers(kind, folder, {name: value for name, value in given.items() if value is not None})
    answers |= dict(_pair(text) for text in others or [])
    sources = draft.default_sources(kind, folder, answers.get("database.kind", ""))
    sources |= dict(draft.parse_source(text) for text in secret or [])
    text = draft.render(kind, answers, sources, folder)
    if dry_run:
        render.result(output, "migratekit.config-init-plan/1", {"file": str(path), "text": text}, text=text)
        return
    draft.check(path, force)
    if kind == draft.OMA:
        sources["volumes.token"] = SecretSource(file=folder / draft.TOKEN_FILE)
    secrets = _secrets(sources, generate)
    draft.write(path, text, force)
    for secret_file, value in secrets.items():
        draft.keep(secret_file, value)
    _tell(output, path, kind, sources)


def _target(context: typer.Context, file: Path | None) -> Path:
    chosen: Globals = context.obj
    if file or chosen.config:
        return file or chosen.config or SYSTEM_FILE
    if os.geteuid() == 0:
        return SYSTEM_FILE
    from migratekit_core.config.load import default_files

    return default_files(os.environ)[-1]


def _answers(role: Role, folder: Path, given: dict[str, str]) -> dict[str, str]:
    """Return an answer to every question: an option's, the terminal's, or the default."""
    from migratekit_core.config.draft import questions

    answers, missing = {}, []
    for question in questions(role):
        default = None if question.default is None else question.default.replace("@", str(folder))
        if question.setting in given:
            answers[question.setting] = given[question.setting]
        elif possible():
            answers[question.setting] = ask(f"{question.setting}: {question.text}", default)
        elif default is None:
            missing.append(question.setting)
        else:
            answers[question.setting] = default
    if missing:
        raise UsageError(
            "the configuration lacks answers",
            f"not given: {', '.join(missing)}, and there is no terminal to ask on",
            hint("give them as options: ", program("migratekit", "config", "init", "--help")),
            code=ErrorCode.NO_TERMINAL,
        )
    return answers | {name: value for name, value in given.items() if name not in answers}


def _pair(text: str) -> tuple[str, str]:
    setting, equals, value = text.partition("=")
    if not equals or "." not in setting:
        raise UsageError(
            f"--set {text} is no setting",
            "it has the form TABLE.KEY=VALUE",
            "see docs/configuration.md",
            code=ErrorCode.USAGE,
        )
    return setting, value


def _secrets(sources: Mapping[str, SecretSource], generate: bool) -> dict[Path, str]:
    """Return what is to be written to each secret's file where there is none: random ones of ours, others as typed.

    Nothing is written yet, so that Ctrl-C at any question leaves everything as it was.
    """
    from migratekit_core.config import draft

    found: dict[Path, str] = {}
    for setting, source in sources.items():
        if source.file is None or source.file.exists() or source.file in found:
            continue
        if setting in draft.GENERATED and generate:
            found[source.file] = draft.generate(setting)
        elif possible():
            about = f"{setting} is kept in {source.file}; type nothing to write that file yourself"
            if said := hidden(setting, about=[about]):
                found[source.file] = said
    return found


def _tell(output: Output, path: Path, role: str, sources: Mapping[str, SecretSource]) -> None:
    from migratekit_core.config.origins import source_of

    found: list[dict[str, Any]] = [
        {"setting": name, "source": source_of(source), "present": source.file is None or source.file.exists()}
        for name, source in sources.items()
    ]
    lines = [f"{path} is written ({role})"]
    lines += [
        f"write, with mode 0600: {each['source'][5:]} ({each['setting']})" for each in found if not each["present"]
    ]
    lines.append(as_given("then: ", program("migratekit", "config", "validate"), ", and ", migratekit("doctor")))
    data = {"file": str(path), "role": role, "secrets": found}
    render.result(output, "migratekit.config-init/1", data, text="\n".join(lines))
