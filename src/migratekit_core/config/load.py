"""Finds the configuration and puts its layers together: system file, user's file, profile, environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from migratekit_core.config.schema import Config
from migratekit_core.errors import UsageError

ENV_PREFIX = "MIGRATEKIT_"
NOT_SETTINGS = frozenset({"MIGRATEKIT_CONFIG", "MIGRATEKIT_PROFILE", "MIGRATEKIT_DEBUG"})
"""Variables that say which configuration to read, not what is in it."""


def default_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that are read where none is named, the weaker first."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    return [Path("/etc/migratekit/config.toml"), home / "migratekit" / "config.toml"]


def load_config(
    file: Path | None = None, profile: str | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Return the configuration of `profile`.

    `file` replaces the default files. `MIGRATEKIT_TABLE__KEY` variables override single values; values are TOML
    where they parse as such, else text. Raises UsageError for a missing file, bad TOML, an unknown profile, an unknown
    key, a wrong value, or a setting that would bypass the tunnel.
    """
    environ = os.environ if environ is None else environ
    named = file or (Path(environ["MIGRATEKIT_CONFIG"]) if environ.get("MIGRATEKIT_CONFIG") else None)
    files = [named.expanduser()] if named else [path for path in default_files(environ) if path.exists()]

    merged: dict[str, Any] = {}
    for path in files:
        merged = _merge(merged, _read(path))
    profiles = merged.pop("profiles", {})
    if not isinstance(profiles, dict):
        raise UsageError("configuration: profiles is no table", "it holds a single value", "write [profiles.NAME.…]")
    wanted = profile or environ.get("MIGRATEKIT_PROFILE")
    if wanted:
        if wanted not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise UsageError(f"no profile {wanted!r}", f"profiles of the configuration: {known}", "check --profile")
        if not isinstance(profiles[wanted], dict):
            raise UsageError(
                f"profile {wanted!r} is no table", "it holds a single value", f"write [profiles.{wanted}.…]"
            )
        merged = _merge(merged, profiles[wanted])
    merged = _merge(merged, _from_environment(environ))

    try:
        return Config.model_validate(merged)
    except ValidationError as error:
        where = ", ".join(str(path) for path in files) or "environment"
        raise UsageError(f"configuration is wrong ({where})", _explain(error), "see docs/configuration.md") from None


def require(config: Config, *tables: str) -> None:
    """Raise UsageError unless the configuration has the optional tables that a command needs."""
    missing = [table for table in tables if getattr(config, table) is None]
    if missing:
        looked = ", ".join(str(path) for path in default_files(os.environ))
        raise UsageError(
            f"configuration has no [{missing[0]}] table",
            f"no --config given, or the file lacks it (default files: {looked})",
            "pass --config FILE or write one; docs/configuration.md has a complete example",
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"configuration {path} cannot be read", error.strerror or str(error), "check the path given with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"configuration {path} is not TOML", str(error), "correct that line") from error


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        held = merged.get(key)
        # A secret's source is replaced as a whole: two sources at once would be an error.
        tables = isinstance(value, Mapping) and isinstance(held, dict)
        if tables and not {"file", "env", "command", "keyring"} & set(held or {}):
            merged[key] = _merge(held or {}, value)
        else:
            merged[key] = value
    return merged


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for name, text in environ.items():
        if not name.startswith(ENV_PREFIX) or name in NOT_SETTINGS or "__" not in name:
            continue
        table: dict[str, Any] = settings
        *tables, key = name.removeprefix(ENV_PREFIX).lower().split("__")
        for part in tables:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UsageError(
                    f"{name} contradicts another variable", "a value cannot hold keys", "unset one of them"
                )
        if key in table and isinstance(table[key], dict):
            raise UsageError(f"{name} contradicts another variable", "a table cannot be a value", "unset one of them")
        table[key] = _value(text)
    return settings


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _explain(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "literal_error":
            message = f"is {problem['input']!r}; it must be {problem['ctx']['expected']}"
        if problem["type"] == "extra_forbidden":
            message = "unknown key"
        problems.append(f"{place}: {message}" if place else message)
    return "; ".join(problems)
