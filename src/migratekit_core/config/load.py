"""Finds the configuration and puts its layers together: system file, user's file, profile, environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.config.names import unknown
from migratekit_core.config.schema import Config, Oma, TunnelServer

ENV_PREFIX = "MIGRATEKIT_"
NOT_SETTINGS = frozenset({"MIGRATEKIT_CONFIG", "MIGRATEKIT_PROFILE", "MIGRATEKIT_DEBUG"})
"""Variables that say which configuration to read, not what is in it."""


def default_files(environ: Mapping[str, str]) -> list[Path]:
    """Return the files that are read where none is named, the weaker first."""
    home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or "~").expanduser() / ".config")
    return [Path("/etc/migratekit/config.toml"), home / "migratekit" / "config.toml"]


@dataclass(frozen=True)
class Layer:
    """Settings of one origin: a file, a profile, or an environment variable."""

    origin: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a setting; `setting` is empty where it is about several."""

    setting: str
    message: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}" if self.setting else self.message


@dataclass(frozen=True)
class Sources:
    """What was read, the weaker layer first."""

    files: tuple[Path, ...]
    profile: str
    layers: tuple[Layer, ...]

    @property
    def merged(self) -> dict[str, Any]:
        """Return the layers put together."""
        merged: dict[str, Any] = {}
        for layer in self.layers:
            merged = _merge(merged, layer.settings)
        return merged


def load_config(
    file: Path | None = None, profile: str | None = None, environ: Mapping[str, str] | None = None
) -> Config:
    """Return the configuration of `profile`.

    `file` replaces the default files. `MIGRATEKIT_TABLE__KEY` variables override single values; values are TOML
    where they parse as such, else text. Raises UsageError for a missing file, bad TOML, an unknown profile, an unknown
    key, a wrong value, or a setting that would bypass the tunnel.
    """
    return checked(read_sources(file, profile, environ))


def read_sources(
    file: Path | None = None, profile: str | None = None, environ: Mapping[str, str] | None = None
) -> Sources:
    """Return the layers of `profile`, unchecked. Raises UsageError for a missing file, bad TOML, an unknown profile."""
    environ = os.environ if environ is None else environ
    named = file or (Path(environ["MIGRATEKIT_CONFIG"]) if environ.get("MIGRATEKIT_CONFIG") else None)
    files = [named.expanduser()] if named else [path for path in default_files(environ) if path.exists()]

    layers: list[Layer] = []
    profiles: dict[str, Any] = {}
    for path in files:
        settings = _read(path)
        own = settings.pop("profiles", {})
        if not isinstance(own, dict):
            raise UsageError(
                "configuration: profiles is no table",
                "it holds a single value",
                "write [profiles.NAME.…]",
                code=ErrorCode.CONFIG_INVALID,
            )
        profiles = _merge(profiles, own)
        layers.append(Layer(str(path), settings))
    wanted = profile or environ.get("MIGRATEKIT_PROFILE") or ""
    if wanted:
        if wanted not in profiles:
            known = ", ".join(sorted(profiles)) or "none"
            raise UsageError(
                f"no profile {wanted!r}",
                f"profiles of the configuration: {known}",
                "check --profile",
                code=ErrorCode.CONFIG_MISSING,
                facts={"profile": wanted},
            )
        if not isinstance(profiles[wanted], dict):
            raise UsageError(
                f"profile {wanted!r} is no table",
                "it holds a single value",
                f"write [profiles.{wanted}.…]",
                code=ErrorCode.CONFIG_INVALID,
                facts={"profile": wanted},
            )
        layers.append(Layer(f"profile {wanted}", profiles[wanted]))
    layers.append(Layer("environment", _from_environment(environ)))
    return Sources(tuple(files), wanted, tuple(layers))


def checked(sources: Sources) -> Config:
    """Return the configuration that the layers make. Raises UsageError, naming everything that is wrong."""
    found = problems(sources)
    if isinstance(found, Config):
        return found
    where = ", ".join(str(path) for path in sources.files) or "environment"
    raise UsageError(
        f"configuration is wrong ({where})",
        "; ".join(str(problem) for problem in found),
        "see docs/configuration.md",
        code=ErrorCode.CONFIG_INVALID,
    )


def problems(sources: Sources) -> Config | list[Problem]:
    """Return the configuration, or everything that is wrong with it."""
    try:
        return Config.model_validate(_with_whole_omas(sources.merged))
    except ValidationError as error:
        return [_problem(item) for item in error.errors()]


def require(config: Config, *tables: str) -> None:
    """Raise UsageError unless the configuration has the optional tables that a command needs."""
    missing = [table for table in tables if getattr(config, table) is None]
    if missing:
        looked = ", ".join(str(path) for path in default_files(os.environ))
        raise UsageError(
            f"configuration has no [{missing[0]}] table",
            f"no --config given, or the file lacks it (default files: {looked})",
            "pass --config FILE or write one; docs/configuration.md has a complete example",
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": missing[0]},
        )


def tunnel_server(config: Config, given: Mapping[str, Any]) -> TunnelServer:
    """Return [tunnel.server] with single values replaced. Raises UsageError for wrong ones, and where both lack one."""
    held = config.tunnel.server.model_dump() if config.tunnel.server else {}
    try:
        return TunnelServer.model_validate({**held, **given})
    except ValidationError as error:
        raise UsageError(
            "the tunnel's server is not configured",
            "; ".join(str(_problem(item)) for item in error.errors()),
            "write [tunnel.server], or pass --cert, --ca, …",
            code=ErrorCode.CONFIG_MISSING,
            facts={"setting": "tunnel.server"},
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"configuration {path} cannot be read",
            error.strerror or str(error),
            "check the path given with --config",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(path)},
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"configuration {path} is not TOML",
            str(error),
            "correct that line",
            code=ErrorCode.CONFIG_INVALID,
            facts={"path": str(path)},
        ) from error


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


def _with_whole_omas(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings with each OMA's tables put over those of the configuration itself."""
    omas = settings.get("omas")
    if not isinstance(omas, Mapping):
        return settings
    whole = {}
    for name, own in omas.items():
        whole[name] = own
        if isinstance(own, Mapping):
            below = {table: settings[table] for table in Oma.model_fields if isinstance(settings.get(table), Mapping)}
            whole[name] = _merge(below, own)
    return {**settings, "omas": whole}


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
                    f"{name} contradicts another variable",
                    "a value cannot hold keys",
                    "unset one of them",
                    code=ErrorCode.CONFIG_INVALID,
                    facts={"variable": name},
                )
        if key in table and isinstance(table[key], dict):
            raise UsageError(
                f"{name} contradicts another variable",
                "a table cannot be a value",
                "unset one of them",
                code=ErrorCode.CONFIG_INVALID,
                facts={"variable": name},
            )
        table[key] = _value(text)
    return settings


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _problem(found: Any) -> Problem:
    place = ".".join(str(part) for part in found["loc"])
    message = found["msg"].removeprefix("Value error, ")
    if found["type"] == "literal_error":
        message = f"is {found['input']!r}; it must be {found['ctx']['expected']}"
    if found["type"] == "extra_forbidden":
        message = unknown(tuple(str(part) for part in found["loc"]))
    return Problem(place, message)
