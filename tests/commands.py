"""The command line as the application itself describes it, for everything that is made of it: reference, man pages."""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import typer

from migratekit_cli.main import app

NAME = "migratekit"
HELP_OPTION = "Show this message and exit."


@dataclass(frozen=True)
class Option:
    """An option; `metavar` is empty for a flag."""

    names: tuple[str, ...]
    metavar: str
    text: str
    default: str
    required: bool
    multiple: bool


@dataclass(frozen=True)
class Argument:
    """An argument; `many` takes all that is left."""

    metavar: str
    text: str
    required: bool
    many: bool


@dataclass(frozen=True)
class Command:
    """A command, or a group of commands (`children`); `path` is without the program's name."""

    path: tuple[str, ...]
    text: str
    arguments: tuple[Argument, ...]
    options: tuple[Option, ...]
    children: tuple[Command, ...]

    @property
    def name(self) -> str:
        """Return the command as it is typed."""
        return " ".join((NAME, *self.path))

    @property
    def summary(self) -> str:
        """Return the first paragraph of the text, in one line."""
        return " ".join(self.text.split("\n\n")[0].split())

    @property
    def usage(self) -> str:
        """Return how it is called."""
        words = [self.name, *(["[OPTION]…"] if self.options else []), *(["COMMAND …"] if self.children else [])]
        for argument in self.arguments:
            word = argument.metavar.strip("[]…")
            word = f"{word}…" if argument.many else word
            words.append(word if argument.required else f"[{word}]")
        return " ".join(words)

    def walk(self) -> Iterator[Command]:
        """Yield the command and all below it, in the order of the application."""
        yield self
        for child in self.children:
            yield from child.walk()


def tree() -> Command:
    """Return the whole application."""
    return _command(typer.main.get_command(app), ())


def _command(found: Any, path: tuple[str, ...]) -> Command:
    shown = [each for each in found.params if not getattr(each, "hidden", False)]
    children = getattr(found, "commands", {})
    return Command(
        path,
        inspect.cleandoc(found.help or ""),
        tuple(_argument(each) for each in shown if each.param_type_name == "argument"),
        tuple(_option(each) for each in shown if each.param_type_name == "option"),
        tuple(_command(child, (*path, name)) for name, child in children.items() if not child.hidden),
    )


def _argument(found: Any) -> Argument:
    metavar = str(found.metavar or found.name.upper())
    return Argument(metavar, str(getattr(found, "help", "") or ""), bool(found.required), found.nargs == -1)


def _option(found: Any) -> Option:
    default = found.default
    shown = "" if default is None or default is False or default == () else str(getattr(default, "value", default))
    return Option(
        (*found.opts, *found.secondary_opts),
        "" if found.is_flag else _metavar(found),
        str(found.help or ""),
        shown,
        bool(found.required),
        bool(found.multiple),
    )


def _metavar(found: Any) -> str:
    if found.metavar:
        return str(found.metavar)
    kind = found.type_descriptor.annotation
    kind = next((each for each in get_args(kind) if each is not type(None)), kind)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(each.value) for each in kind)
    names = {"int": "NUMBER", "float": "NUMBER", "Path": "FILE", "datetime": "DATE"}
    return names.get(getattr(kind, "__name__", ""), "TEXT")
