"""Whether a configuration would work on this host: its form, the files that it names, and its secrets' sources."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, UsageError
from migratekit_core.common.hints import Hint
from migratekit_core.config.load import Sources, problems
from migratekit_core.config.names import named_tables, secrets, settings
from migratekit_core.config.schema import Config
from migratekit_core.config.secret import SecretSource

MUST_EXIST = ("vcenter.ca_file", "ossea.ca_file", "tunnel.ca_file", "tunnel.cert_file", "otel.ca_file")
"""Files that others make, and MigrateKit only reads."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong; `exit_code` is what a command that needs the setting would end with."""

    setting: str
    what: str
    todo: Hint | str
    exit_code: int
    code: ErrorCode


def validate(sources: Sources, run_commands: bool = False) -> list[Finding]:
    """Return everything that is wrong. Secrets are read, and forgotten; those of commands only with `run_commands`."""
    config = problems(sources)
    if not isinstance(config, Config):
        return [
            Finding(
                each.setting, each.message, "see docs/configuration.md", UsageError.exit_code, ErrorCode.CONFIG_INVALID
            )
            for each in config
        ]
    found = [finding for name, source in secrets(config) for finding in _secret(name, source, run_commands)]
    for table, key, _ in settings():
        held = getattr(getattr(config, table), key, None)
        name = f"{table}.{key}"
        if held is not None and name in MUST_EXIST:
            found += _file(name, held)
    for place, table_of_a_name in named_tables(config):
        for name in ("ca_file", "cert_file"):
            path = getattr(table_of_a_name, name, None)
            # What an OMA shares with the configuration itself was looked at above.
            if path is not None and path != getattr(getattr(config, place.rpartition(".")[2], None), name, None):
                found += _file(f"{place}.{name}", path)
    return found


def _secret(name: str, source: SecretSource, run_commands: bool) -> list[Finding]:
    if source.command is not None and not run_commands:
        if shutil.which(source.command[0]) is None:
            return [
                Finding(
                    name,
                    f"the command {source.command[0]!r} was not found",
                    "check its path",
                    2,
                    ErrorCode.NOT_INSTALLED,
                )
            ]
        return []
    if source.keyring is not None and importlib.util.find_spec("keyring") is None:
        return [
            Finding(
                name,
                "the keyring library is not installed",
                "run: apt-get install python3-keyring",
                2,
                ErrorCode.NOT_INSTALLED,
            )
        ]
    try:
        source.read(name)
    except MigrateKitError as error:
        return [Finding(name, error.why or error.what, error.todo, error.exit_code, error.code)]
    return []


def _file(name: str, path: Path) -> list[Finding]:
    if not os.access(path, os.R_OK):
        reason = "cannot be read by this user" if path.exists() else "does not exist"
        return [
            Finding(name, f"{path} {reason}", "put the file there, or correct the path", 4, ErrorCode.FILE_UNREADABLE)
        ]
    return []
