"""What to do next, for people: text, and the commands within it as they are typed.

A command is kept as its words, so that it can be shown with the global options that are in force: without them it would
be about another vCenter or OMA. Without dataclasses, as all that the engine imports.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple


class Where(StrEnum):
    """Where a command is run, and so whether it takes the global options of ours."""

    HERE = "here"
    """With this configuration: takes the global options in force."""
    OMA = "oma"
    """On the OMA, whose configuration knows none of the names that ours has."""
    CA = "ca"
    """On the host that has the tunnel's CA."""
    ANYWHERE = "anywhere"
    """Another program, or a command of ours for which no vCenter and OMA matters."""


class Command(NamedTuple):
    """A command to run: its words, the program first."""

    argv: tuple[str, ...]
    where: Where = Where.HERE

    def render(self, options: Sequence[str] = ()) -> str:
        """Return it as a shell takes it; with these global options, if it is run here."""
        words = [self.argv[0], *options, *self.argv[1:]] if self.where is Where.HERE else self.argv
        return shlex.join(words)

    def plus(self, *words: str) -> Command:
        """Return it with further words at its end."""
        return self._replace(argv=(*self.argv, *words))

    def __str__(self) -> str:
        return self.render()


class Hint:
    """A text with commands in it; false where there is nothing to say."""

    __slots__ = ("parts",)

    def __init__(self, *parts: str | Command) -> None:
        self.parts = parts

    def render(self, options: Sequence[str] = ()) -> str:
        """Return it as one text, whose commands have these global options."""
        return "".join(part if isinstance(part, str) else part.render(options) for part in self.parts)

    def bound(self, options: Sequence[str]) -> Hint:
        """Return it with these global options in its commands for good: it will be read where others are in force."""
        if not options:
            return self
        return Hint(*(_bound(part, options) if isinstance(part, Command) else part for part in self.parts))

    def mapped(self, change: Callable[[str], str]) -> Hint:
        """Return it with each of its texts and words changed, as a mask of secrets does."""
        return Hint(
            *(
                change(part) if isinstance(part, str) else part._replace(argv=tuple(map(change, part.argv)))
                for part in self.parts
            )
        )

    def fields(self) -> list[str | dict[str, Any]]:
        """Return it for JSON: each part a text, or an object of a command's `argv` and `where`."""
        return [
            part if isinstance(part, str) else {"argv": list(part.argv), "where": part.where.value}
            for part in self.parts
        ]

    def __str__(self) -> str:
        return self.render()

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hint) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def __repr__(self) -> str:
        return f"Hint{self.parts!r}"


NOTHING = Hint()


def hint(*parts: str | Command | Hint) -> Hint:
    """Return a hint of texts, commands and other hints, one after the other; empty texts are left out."""
    flat: list[str | Command] = []
    for part in parts:
        flat += part.parts if isinstance(part, Hint) else [part] if part else []
    return Hint(*flat)


def joined(separator: str, parts: Sequence[str | Command | Hint]) -> Hint:
    """Return hints in a row, with a text between each two that say something."""
    row: list[str | Command | Hint] = []
    for part in parts:
        if part:
            row += [separator, part] if row else [part]
    return hint(*row)


def migratekit(*words: str) -> Command:
    """Return a command of ours that is run with this configuration."""
    return Command(("migratekit", *words))


def on_oma(*words: str) -> Command:
    """Return a command of ours that is run on the OMA."""
    return Command(("migratekit", *words), Where.OMA)


def at_ca(*words: str) -> Command:
    """Return a command of ours that is run where the tunnel's CA is."""
    return Command(("migratekit", *words), Where.CA)


def program(*words: str) -> Command:
    """Return a command that takes none of our global options."""
    return Command(words, Where.ANYWHERE)


def options(given: Mapping[str, object]) -> list[str]:
    """Return options and their values as a command line has them, without those that are not given."""
    return [text for option, value in given.items() if value for text in (option, str(value))]


def from_fields(fields: Mapping[str, Any]) -> Hint:
    """Return the hint of an object of JSON: its `hint`, or its `todo` as a text where a former version wrote it."""
    read = _read(fields.get("hint"))
    return hint(fields["todo"]) if read is None else read


def _read(parts: object) -> Hint | None:
    if not isinstance(parts, list):
        return None
    read: list[str | Command] = []
    for part in parts:
        if isinstance(part, str):
            read.append(part)
            continue
        try:
            read.append(Command(tuple(map(str, part["argv"])), Where(part["where"])))
        except (KeyError, TypeError, ValueError):
            return None
    return Hint(*read)


def _bound(command: Command, options: Sequence[str]) -> Command:
    if command.where is not Where.HERE:
        return command
    # Whoever shows it is another run: no options of that one's.
    return Command((command.argv[0], *options, *command.argv[1:]), Where.ANYWHERE)
