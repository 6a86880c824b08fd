"""Every setting with its value and where that came from; of a secret only where it is, never what it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from migratekit_core.common.redact import redact
from migratekit_core.config.load import Layer, Sources
from migratekit_core.config.names import is_secret, named_tables, settings
from migratekit_core.config.schema import Config
from migratekit_core.config.secret import SecretSource

DEFAULT = "default"


@dataclass(frozen=True)
class Setting:
    """One setting. `value` is JSON-like; None is "not set"."""

    setting: str
    value: Any
    origin: str
    """A file, `profile NAME`, an environment variable, or `default`."""
    secret: bool


def listed(config: Config, sources: Sources) -> list[Setting]:
    """Return all settings, in the order of the schema; keys of a table that is not there are left out."""
    found = []
    for table, key, field in settings():
        held = getattr(config, table)
        if held is None:
            continue
        origin = _origin(sources.layers, table, key)
        secret = is_secret(field)
        found.append(Setting(f"{table}.{key}", _shown(getattr(held, key), secret), origin, secret))
    return found + list(_named(config, sources))


def _named(config: Config, sources: Sources) -> Iterator[Setting]:
    """Yield what vCenters and OMAs with names have of their own; what an OMA shares stands above."""
    for place, table in named_tables(config):
        for key, field in type(table).model_fields.items():
            origin = _origin(sources.layers, place, key)
            if origin != DEFAULT or place.startswith("vcenters."):
                secret = is_secret(field)
                yield Setting(f"{place}.{key}", _shown(getattr(table, key), secret), origin, secret)


def missing_tables(config: Config) -> list[str]:
    """Return the optional tables that the configuration does not have."""
    return [table for table in Config.model_fields if getattr(config, table) is None]


def _origin(layers: tuple[Layer, ...], table: str, key: str) -> str:
    for layer in reversed(layers):
        settings: Any = layer.settings
        for part in table.split("."):
            settings = settings.get(part) if isinstance(settings, Mapping) else None
        if isinstance(settings, Mapping) and key in settings:
            return (
                f"MIGRATEKIT_{table.replace('.', '__')}__{key}".upper()
                if layer.origin == "environment"
                else layer.origin
            )
    return DEFAULT


def _shown(value: Any, secret: bool) -> Any:
    if isinstance(value, SecretSource):
        return source_of(value)
    if isinstance(value, Mapping):
        return {redact(str(name)): _shown(held, secret) for name, held in value.items()}
    if secret or value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value)) if isinstance(value, str | Path) else str(value)


def source_of(secret: SecretSource) -> str:
    """Return where a secret is. Of a command only the program: its arguments may hold one themselves."""
    if secret.file is not None:
        return f"file {secret.file}"
    if secret.env is not None:
        return f"env {secret.env}"
    if secret.command is not None:
        return f"command {secret.command[0]} …"
    return f"keyring {secret.keyring}"
