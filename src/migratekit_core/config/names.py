"""The settings by name: which there are, and which one a misspelt key was meant to be."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from migratekit_core.config.schema import Config
from migratekit_core.config.secret import SecretSource

NAMED = ("vcenters", "omas")
"""Tables that hold tables by the names of vCenters and OMAs."""
CLOSE = 0.6
"""How like two names must be (difflib's ratio) for one to be proposed for the other."""


def settings() -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield table, key and field of every setting of a table that there is once."""
    for table, held in Config.model_fields.items():
        if table not in NAMED:
            for key, field in inner_model(held).model_fields.items():
                yield table, key, field


def named_tables(config: Config) -> Iterator[tuple[str, BaseModel]]:
    """Yield the tables of vCenters and OMAs that have names: vcenters.NAME, omas.NAME.tunnel."""
    for name, vcenter in config.vcenters.items():
        yield f"vcenters.{name}", vcenter
    for name, oma in config.omas.items():
        for table in type(oma).model_fields:
            held = getattr(oma, table)
            if held is not None:
                yield f"omas.{name}.{table}", held


def is_secret(field: FieldInfo) -> bool:
    """Return whether a field says where a secret is."""
    return SecretSource in (field.annotation, *get_args(field.annotation))


def secrets(config: Config) -> Iterator[tuple[str, SecretSource]]:
    """Yield every secret that a configuration has, by its name; of a table of secrets each one (otel.headers.NAME)."""
    for table, key, field in settings():
        held = getattr(getattr(config, table), key, None)
        if held is None or not is_secret(field):
            continue
        if isinstance(held, SecretSource):
            yield f"{table}.{key}", held
        else:
            yield from ((f"{table}.{key}.{name}", source) for name, source in held.items())
    for place, table_of_a_name in named_tables(config):
        for key, field in type(table_of_a_name).model_fields.items():
            held = getattr(table_of_a_name, key)
            # What an OMA shares with the configuration itself was told there.
            own = getattr(getattr(config, place.rpartition(".")[2], None), key, None)
            if isinstance(held, SecretSource) and is_secret(field) and held != own:
                yield f"{place}.{key}", held


def inner_model(field: FieldInfo) -> Any:
    """Return the model that a field holds, or None."""
    candidates: list[Any] = [field.annotation, *get_args(field.annotation)]
    return next((held for held in candidates if isinstance(held, type) and issubclass(held, BaseModel)), None)


def unknown(place: tuple[str, ...]) -> str:
    """Return what to say of a key that does not exist, with the one that was probably meant."""
    model: Any = Config
    parts = list(place[:-1])
    while parts:
        part = parts.pop(0)
        field = model.model_fields.get(part) if model else None
        model = inner_model(field) if field else None
        if field is not None and get_origin(field.annotation) is dict and parts:
            parts.pop(0)  # a name
    known = list(model.model_fields) if model else []
    tables = [f"[{table}]" for table, key, _ in settings() if key == place[-1]]
    if len(place) <= 2 and tables:
        return f"unknown key here; it belongs to {' or '.join(tables)}"
    near = get_close_matches(place[-1], known, 1, CLOSE)
    if near:
        return f"unknown key; did you mean {near[0]}?"
    return f"unknown key; there are: {', '.join(known)}" if 0 < len(known) <= 4 else "unknown key"
