"""Reads and writes mapping files: TOML, YAML or CSV. docs/networks.md describes them."""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import hint, migratekit
from migratekit_core.common.visible import FORMULA
from migratekit_core.services.networks.model import Entry

SCHEMA = "migratekit.network-map/1"
COLUMNS = ("source", "target", "machine")
LEFT_OUT = "-"
"""Target, in a CSV file, of what is left out."""
ORIGIN = "file"
Target = str | Literal[False]


class Document(BaseModel):
    """The TOML or YAML file. A target that is false leaves cards out."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_name: Literal["migratekit.network-map/1"] = Field(alias="schema")
    map: dict[str, Target] = {}
    """Networks, by name or inventory path."""
    cards: dict[str, dict[str, Target]] = {}
    """Single cards: by machine (name, inventory path or instanceUuid), then by label."""


def read(path: Path) -> tuple[Entry, ...]:
    """Read a mapping; the ending of the name says which form. Raises UsageError where it cannot be read or is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"mapping {path} cannot be read",
            str(error),
            "check the name of the file",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(path)},
        ) from None
    kind = path.suffix.lower().lstrip(".")
    if kind == "csv":
        return _from_csv(path, text)
    try:
        if kind == "toml":
            document: Any = tomllib.loads(text)
        elif kind in ("yaml", "yml"):
            document = yaml.safe_load(text)
        else:
            raise UsageError(
                f"mapping {path} is of no known form",
                "its name ends in neither toml, yaml nor csv",
                "rename it",
                code=ErrorCode.FILE_INVALID,
                facts={"path": str(path)},
            )
        found = Document.model_validate(document)
    except (tomllib.TOMLDecodeError, yaml.YAMLError) as error:
        raise _wrong(path, " ".join(str(error).split())) from None
    except ValidationError as error:
        first = error.errors()[0]
        # The last parts name the branch of a union that did not fit.
        where = ".".join(str(part) for part in first["loc"] if part not in ("str", "literal[False]"))
        raise _wrong(path, f"{where or 'the file'}: {first['msg']}") from None
    entries = [Entry(source, target or None, origin=ORIGIN) for source, target in found.map.items()]
    for machine, cards in found.cards.items():
        entries += [Entry(label, target or None, machine, ORIGIN) for label, target in cards.items()]
    return _checked(path, entries)


def write(entries: Iterable[Entry], kind: str) -> str:
    """Return a mapping file of this form (toml, yaml, csv)."""
    rows = list(entries)
    if kind == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((_cell(row.source), _cell(row.target or LEFT_OUT), _cell(row.machine)) for row in rows)
        return out.getvalue()
    networks: dict[str, Target] = {row.source: row.target or False for row in rows if not row.machine}
    cards: dict[str, dict[str, Target]] = {}
    for row in rows:
        if row.machine:
            cards.setdefault(row.machine, {})[row.source] = row.target or False
    if kind == "yaml":
        document = {"schema": SCHEMA, "map": networks, **({"cards": cards} if cards else {})}
        return yaml.safe_dump(document, sort_keys=False, allow_unicode=all(map(_prints, rows)))
    lines = [f"schema = {_toml(SCHEMA)}", "", "[map]", *(_line(*item) for item in networks.items())]
    for machine, labels in cards.items():
        lines += ["", f"[cards.{_toml(machine)}]", *(_line(*item) for item in labels.items())]
    return "\n".join(lines) + "\n"


def _prints(row: Entry) -> bool:
    return f"{row.source}{row.target}{row.machine}".isprintable()


def _line(source: str, target: Target) -> str:
    return f"{_toml(source)} = {_toml(target) if target else 'false'}"


def _toml(text: str) -> str:
    # A JSON string is a TOML basic string, but for what prints nothing: JSON leaves some of it as it is.
    return "".join(map(_toml_character, json.dumps(text, ensure_ascii=False)))


def _toml_character(each: str) -> str:
    return each if each.isprintable() else f"\\u{ord(each):04x}" if ord(each) < 0x10000 else f"\\U{ord(each):08x}"


def _from_csv(path: Path, text: str) -> tuple[Entry, ...]:
    reader = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
    missing = [name for name in COLUMNS[:2] if name not in (reader.fieldnames or ())]
    if missing:
        raise _wrong(path, f"its first line has no column {missing[0]!r}; columns: {', '.join(COLUMNS)}")
    entries = []
    for row in reader:
        source, target = _from_cell(row.get("source")), _from_cell(row.get("target"))
        if not source or not target:
            raise _wrong(path, f"line {reader.line_num} has no {'source' if not source else 'target'}")
        machine = _from_cell(row.get("machine"))
        entries.append(Entry(source, None if target == LEFT_OUT else target, machine, ORIGIN))
    return _checked(path, entries)


def _cell(text: str) -> str:
    """Return what a CSV file has of a name: one that a spreadsheet would take for a formula begins with a quote."""
    return f"'{text}" if text.startswith(FORMULA) and text != LEFT_OUT else text


def _from_cell(cell: str | None) -> str:
    text = (cell or "").strip()
    return text[1:] if text.startswith(tuple(f"'{each}" for each in FORMULA)) else text


def _checked(path: Path, entries: list[Entry]) -> tuple[Entry, ...]:
    seen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        key = (entry.machine, entry.source)
        if not entry.source or key in seen:
            raise _wrong(path, f"{entry.source!r} stands there twice" if entry.source else "a source is empty")
        if entry.target is not None and not entry.target.strip():
            raise _wrong(path, f"the target of {entry.source!r} is empty")
        seen[key] = entry
    return tuple(seen.values())


def _wrong(path: Path, why: str) -> UsageError:
    return UsageError(
        f"mapping {path} is none",
        why,
        hint("write one with: ", migratekit("networks", "--export", "toml")),
        code=ErrorCode.FILE_INVALID,
        facts={"path": str(path)},
    )
