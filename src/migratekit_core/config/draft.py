"""A first configuration: what has to be known for a host's role, and the TOML file made of it, without any secret."""

from __future__ import annotations

import base64
import json
import os
import secrets
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.common.files import write_private
from migratekit_core.config.load import Layer, Sources, problems
from migratekit_core.config.schema import Config
from migratekit_core.config.secret import SecretSource

Role = Literal["vma", "oma", "single"]
VMA: Role = "vma"
OMA: Role = "oma"
SINGLE: Role = "single"
"""Commands and volume daemon on one host, without a tunnel."""


@dataclass(frozen=True)
class Question:
    """A setting that cannot be guessed, or whose default deserves a look."""

    setting: str
    text: str
    roles: tuple[Role, ...]
    default: str | None = ""
    """"" means that it may be left out, None that it must be given; `@` stands for the configuration's folder."""


_SOURCE, _ALL = (VMA, SINGLE), (VMA, OMA, SINGLE)
QUESTIONS = (
    Question("vcenter.host", "vCenter or ESXi host, as in its certificate", _SOURCE, None),
    Question("vcenter.user", "its user, such as migratekit@vsphere.local", _SOURCE, None),
    Question("vcenter.ca_file", "CA that signed its certificate (empty: the system's)", _SOURCE),
    Question("ossea.api_url", "CloudStack's API, https://…/client/api", _ALL, None),
    Question("ossea.zone", "zone", _ALL, None),
    Question("ossea.service_offering", "service offering of new machines", _ALL, "Custom Instance"),
    Question("ossea.disk_offering", "disk offering of volumes, one of custom size", _ALL, "Custom"),
    Question("ossea.template", "small template whose root disk is swapped (empty: later)", _SOURCE),
    Question("ossea.oma_vm", "the OMA's machine, as CloudStack names it", _ALL, None),
    Question("networks.test", "isolated network of rehearsals (empty: later)", _SOURCE),
    Question("tunnel.host", "the OMA's address, as seen from here", (VMA,), None),
    Question("tunnel.ca_file", "the tunnel's CA", (VMA,), "@/ca.pem"),
    Question("tunnel.cert_file", "this host's certificate and key", (VMA,), "@/vma.pem"),
    Question("database.kind", "database: mariadb or sqlite", _ALL, "mariadb"),
)

SECRETS: dict[str, tuple[tuple[Role, ...], str]] = {
    "vcenter.password": (_SOURCE, "vcenter.secret"),
    "ossea.api_key": (_ALL, "ossea-api.secret"),
    "ossea.secret_key": (_ALL, "ossea-secret.secret"),
    "database.password": (_ALL, "database.secret"),
    "database.encryption_key": (_ALL, "encryption.secret"),
    "volumes.token": (_SOURCE, "daemon.secret"),
}
"""Secrets by role, and the name of each one's file."""
TOKEN_FILE = "daemon.secret"  # noqa: S105
GENERATED = ("database.password", "database.encryption_key", "volumes.token")
"""Secrets that only MigrateKit and its database know: they may be made at random."""


def questions(role: Role) -> list[Question]:
    """Return what has to be known of a host."""
    return [question for question in QUESTIONS if role in question.roles]


def default_sources(role: Role, folder: Path, database: str) -> dict[str, SecretSource]:
    """Return where each secret of a role is looked for unless something else is said: a file in `folder`."""
    found = {}
    for setting, (roles, name) in SECRETS.items():
        if role in roles and not (setting == "database.password" and database == "sqlite"):
            found[setting] = SecretSource(file=folder / name)
    return found


def parse_source(text: str) -> tuple[str, SecretSource]:
    """Return setting and source of `vcenter.password=env:VC_PASSWORD`. Raises UsageError for anything else."""
    setting, _, source = text.partition("=")
    kind, _, value = source.partition(":")
    made: dict[str, Any] = {kind: shlex.split(value) if kind == "command" else value}
    if setting not in SECRETS or kind not in ("file", "env", "command", "keyring") or not value:
        raise UsageError(
            f"--secret {setting or text}=… names no source",
            f"secrets are {', '.join(SECRETS)}; sources are file, env, command, keyring; a value is never given here",
            "say for example --secret vcenter.password=env:VC_PASSWORD",
            code=ErrorCode.USAGE,
        )
    try:
        return setting, SecretSource.model_validate(made)
    except ValueError:
        raise UsageError(
            f"--secret {setting} is no valid source",
            f"{kind} does not take that form",
            "see docs/configuration.md",
            code=ErrorCode.USAGE,
            facts={"setting": setting},
        ) from None


def render(role: Role, answers: Mapping[str, str], sources: Mapping[str, SecretSource], folder: Path) -> str:
    """Return the TOML of a configuration. Raises UsageError, naming each setting, where it is not a valid one."""
    tables: dict[str, dict[str, Any]] = {}
    for setting, text in answers.items():
        if text:
            table, _, key = setting.partition(".")
            tables.setdefault(table, {})[key] = _typed(text)
    if role == VMA:
        tables.setdefault("tunnel", {})["kind"] = "tls"
    if role != VMA:
        tables.setdefault("daemon", {}).setdefault("token_file", str(folder / TOKEN_FILE))
    for setting, source in sources.items():
        table, _, key = setting.partition(".")
        tables.setdefault(table, {})[key] = source.model_dump(mode="json", exclude_none=True)
    lines = [f"# MigrateKit, role: {role}. Every key: docs/configuration.md. Secrets are elsewhere, never in here."]
    for table in [name for name in Config.model_fields if name in tables]:
        lines += ["", f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in tables[table].items())]
    if role != OMA:
        lines += ["", "# [networks.map]", '# "VM Network" = "guest-network"   # a line for each source network']
    unknown = [name for name in tables if name not in Config.model_fields]
    text = "\n".join(lines) + "\n"
    found = problems(Sources((), "", (Layer("answers", tomllib.loads(text) | {name: {} for name in unknown}),)))
    if not isinstance(found, Config):
        raise UsageError(
            "these answers make no configuration",
            "; ".join(str(problem) for problem in found),
            "give them as options, or run it on a terminal",
            code=ErrorCode.CONFIG_INVALID,
        )
    return text


def check(path: Path, force: bool) -> None:
    """Raise PreconditionError where a configuration is there already, which only `force` replaces."""
    if path.exists() and not force and _says_something(path):
        raise PreconditionError(
            f"{path} is there already",
            "it holds settings",
            "pass --force to replace it, or name another file",
            code=ErrorCode.FILE_EXISTS,
            facts={"path": str(path)},
        )


def write(path: Path, text: str, force: bool) -> None:
    """Write a configuration, mode 0600, its folder 0700. Raises PreconditionError where one is there already."""
    check(path, force)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, text, _owner(path))
    except OSError as error:
        raise PreconditionError(
            f"{path} cannot be written",
            error.strerror or str(error),
            "check the folder's rights, or name another file",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(path)},
        ) from None


def generate(setting: str) -> str:
    """Return a secret made at random, in the form that its setting asks for."""
    if setting == "database.encryption_key":
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def keep(path: Path, secret: str) -> None:
    """Write a secret to its file, mode 0600; one that is there stays."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secret + "\n", _owner(path))


def _owner(path: Path) -> tuple[int, int] | None:
    """Return whose a file is to be that root writes: the folder's owner, who on the OMA is the daemon's user."""
    if os.geteuid() != 0:
        return None
    held = path.parent.stat()
    return held.st_uid, held.st_gid


def _says_something(path: Path) -> bool:
    """Return whether a file holds settings; the one that a package puts in place is all comments."""
    try:
        return bool(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return True


def _typed(text: str) -> Any:
    """Return a number or truth value where the text is one, else the text."""
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdecimal() else text


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(held)}" for key, held in value.items()) + " }"
    # Strings, numbers, truth values and lists of strings are written alike in both.
    return json.dumps(value, ensure_ascii=False)
