"""YAML files that dataclasses describe: read with the line of each mistake, and with the key that was meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import yaml
from pydantic import TypeAdapter, ValidationError

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.hints import Hint, hint

T = TypeVar("T")
Place = tuple[str | int, ...]
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""libyaml's where it is there: a wave of thousands of machines is a long file."""
SHOWN = 5
"""Mistakes that an error names; the rest is a number."""


@dataclasses.dataclass(frozen=True)
class Document:
    """A YAML file as it was read."""

    what: str
    """What it is, for messages: `wave file shop.yaml`."""
    content: dict[str, Any]
    lines: Mapping[Place, int]
    """Line of each key and item, from 1."""

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest one around it."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def error(self, mistakes: list[tuple[Place, str]], todo: Hint | str) -> UsageError:
        """Return the error that names these mistakes, each with its line."""
        found = sorted((self.line(place), _dotted(place), why) for place, why in mistakes)
        told = [f"line {line}: {f'{where}: ' if where else ''}{why}" for line, where, why in found]
        rest = f"; and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
        error = UsageError(
            f"{self.what} is wrong",
            "; ".join(told[:SHOWN]) + rest,
            todo,
            code=ErrorCode.FILE_INVALID,
            facts={"file": self.what},
        )
        error.reasons = tuple(map(hint, told))
        return error


def read(path: Path, kind: str, schema: str, todo: Hint | str) -> Document:
    """Return the document of a file. Raises UsageError where it cannot be read, or is none of this schema."""
    try:
        return parse(path.read_text(encoding="utf-8"), f"{kind} {path}", schema, todo)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{kind} {path} cannot be read",
            why,
            "check the name of the file",
            code=ErrorCode.FILE_UNREADABLE,
            facts={"path": str(path)},
        ) from None


def parse(text: str, what: str, schema: str, todo: Hint | str) -> Document:
    """Return the document of a text. Raises UsageError where it is no YAML, or none of this schema."""
    lines: dict[Place, int] = {}
    twice: list[Place] = []
    content: Any = None
    try:
        loader = LOADER(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                twice = list(_walk(node, (), lines, set()))
                content = loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        why = getattr(error, "problem", None) or " ".join(str(error).split())
        raise UsageError(
            f"{what} is no YAML",
            f"{where}{why}",
            "correct that line",
            code=ErrorCode.FILE_INVALID,
            facts={"file": what},
        ) from None
    if not isinstance(content, dict):
        raise UsageError(
            f"{what} is wrong", "line 1: it holds no keys", todo, code=ErrorCode.FILE_INVALID, facts={"file": what}
        )
    document = Document(what, content, lines)
    if twice:
        raise document.error([(place, "stands there twice") for place in twice], "leave one of them out")
    found = content.pop("schema", None)
    if found != schema:
        why = f"it is {found!r}, not {schema!r}" if found is not None else f"the first line must be: schema: {schema}"
        raise document.error([(("schema",), why)], todo)
    return document


def check(document: Document, adapter: TypeAdapter[T], todo: Hint | str) -> T:
    """Return what the document describes. Raises UsageError, naming every mistake with its line."""
    try:
        return adapter.validate_python(document.content)
    except ValidationError as error:
        mistakes = [_mistake(adapter, item) for item in error.errors()]
        raise document.error(list(dict.fromkeys(mistakes)), todo) from None


def write(schema: str, content: dict[str, Any]) -> str:
    """Return the text of a document."""
    text: str = yaml.dump({"schema": schema, **content}, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=120)
    return text


def _walk(node: Any, place: Place, lines: dict[Place, int], met: set[int]) -> Iterator[Place]:
    """Note the line of every key and item below `node`; yield the places of keys that a mapping has twice."""
    lines.setdefault(place, node.start_mark.line + 1)
    if id(node) in met:
        return  # an alias: it may hold itself
    met.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _walk(item, (*place, number), lines, met)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        below = (*place, str(key.value))
        if below in lines and key.tag != "tag:yaml.org,2002:merge":
            lines[below] = key.start_mark.line + 1
            yield below
        lines[below] = key.start_mark.line + 1
        yield from _walk(value, below, lines, met)


def _mistake(adapter: TypeAdapter[Any], item: Any) -> tuple[Place, str]:
    place: Place = tuple(item["loc"])
    kind = item["type"]
    if kind == "unexpected_keyword_argument":
        return place, _unknown(adapter, place)
    if kind in ("missing", "missing_argument"):
        return place, "is missing"
    if kind == "literal_error":
        return place, f"is {item['input']!r}; it must be {item['ctx']['expected']}"
    if kind == "timezone_aware":
        return place, "a time needs its zone, such as 2026-11-28T22:00:00+01:00"
    return place, str(item["msg"]).removeprefix("Value error, ")


def _unknown(adapter: TypeAdapter[Any], place: Place) -> str:
    known = [each.name for each in dataclasses.fields(_class_at(adapter._type, place[:-1]))]
    near = get_close_matches(str(place[-1]), known, 1)
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; there are: {', '.join(known)}"


def _class_at(kind: Any, place: Place) -> Any:
    """Return the dataclass that a place of the document holds."""
    for part in place:
        found = get_type_hints(kind).get(str(part)) if dataclasses.is_dataclass(kind) else kind
        kind = _class_in(found) or kind
    return kind


def _class_in(kind: Any) -> Any:
    if dataclasses.is_dataclass(kind):
        return kind
    return next(filter(None, map(_class_in, get_args(kind))), None)


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text
