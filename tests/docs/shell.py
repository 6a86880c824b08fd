"""Finds every `migratekit …` that the documents show, and says whether the application would take it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.commands import Command, Option, tree

ROOT = Path(__file__).resolve().parents[2]
MADE = {"cli.md"}
"""Pages that are made of the application itself."""
COMMAND = re.compile(r"(?:^|(?<=[\s/`(]))migratekit(?= )(?! /)(.*)")
INLINE = re.compile(r"`((?:\.venv/bin/)?migratekit [^`\n]+)`")
END = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>&1", "2>"}
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_]*$|…|\[")
HELP = Option(("--help", "-h"), "", "", "", False, False)


@dataclass(frozen=True)
class Shown:
    """A command in a document; `words` are what follows the program's name."""

    page: str
    line: int
    words: tuple[str, ...]
    whole: bool
    """Whether it stands in a block, so that it is to be typed; in a sentence it may lack arguments."""

    @property
    def text(self) -> str:
        """Return the command as it is typed."""
        return shlex.join(("migratekit", *self.words))


def pages() -> list[Path]:
    """Return README, all documents and all examples."""
    docs = ROOT / "docs"
    found = [path for path in docs.rglob("*") if path.suffix in (".md", ".sh", ".yml", ".service", ".timer")]
    units = [path for folder in ("tests/package/debian", "packaging") for path in (ROOT / folder).rglob("*.service")]
    return [ROOT / "README.md", *sorted(path for path in found if path.name not in MADE), *sorted(units)]


def commands(page: Path) -> Iterator[Shown]:
    """Yield every command that a page shows."""
    name = str(page.relative_to(ROOT))
    lines = page.read_text().splitlines()
    fenced, language, held, began = False, "", "", 0
    for number, line in enumerate(lines, 1):
        if page.suffix == ".md" and line.lstrip().startswith("```"):
            fenced = not fenced
            language = line.strip().removeprefix("```") if fenced else ""
            continue
        block = page.suffix != ".md" or (fenced and language in ("", "sh", "bash")) or line.startswith("    ")
        if block and not (fenced and language == "text"):
            held, began = (f"{held} {line.strip()}", began) if held else (line.strip(), number)
            if held.endswith("\\"):
                held = held[:-1].rstrip()
                continue
            yield from _in_block(name, began, held)
            held = ""
        elif not fenced:
            for text in INLINE.findall(line):
                words = _words(text.partition("migratekit ")[2])
                if words:
                    yield Shown(name, number, words, whole=False)


def _in_block(name: str, number: int, line: str) -> Iterator[Shown]:
    if line.startswith(("#", "error:", "why:", "do:")) or "migratekit" not in line:
        return
    for part in re.split(r"&&|;|\|\|?", line):
        found = COMMAND.search(part.strip().removeprefix("$ "))
        before = part.strip().partition("migratekit")[0]
        # Not an argument of another program: apt-get install migratekit, systemctl status migratekit-volumed.
        if found is None or re.search(
            r"\b(install|purge|dpkg|pip|git|cd|systemctl|man|ln|useradd|chown|mariadb|-C)\b", before
        ):
            continue
        words = _words(found[1])
        if words:
            yield Shown(name, number, words, whole=True)


def _words(text: str) -> tuple[str, ...]:
    try:
        lexer = shlex.shlex(text, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters = True, "#"
        found = list(lexer)
    except ValueError:
        found = text.split()
    words = []
    for word in found:
        if word in END or word.startswith((">", "<", "2>")):
            break
        words.append(word)
    return tuple(words)


@cache
def _root() -> Command:
    return tree()


def problem(shown: Shown) -> str:
    """Return why the application would not take a command; "" where it would."""
    command, words = _root(), list(shown.words)
    positional: list[str] = []
    while words:
        word = words.pop(0)
        if word.startswith("-") and len(word) > 1:
            name, equals, value = word.partition("=")
            option = next((each for each in (*command.options, HELP) if name in each.names), None)
            if option is None:
                return f"{command.name} has no option {name}"
            if option.metavar and not equals:
                if not words and shown.whole:
                    return f"{name} needs a value"
                value = words.pop(0) if words else "VALUE"
            if (wrong := _value(option, value)) != "":
                return wrong
            continue
        child = next((each for each in command.children if each.path[-1] == word), None)
        if child is not None:
            command = child
        elif command.children and not PLACEHOLDER.search(word):
            return f"{command.name} has no command {word}"
        elif not command.children:
            positional.append(word)
    return _arguments(shown, command, positional)


def _value(option: Option, value: str) -> str:
    choices = option.metavar.split("|")
    if len(choices) > 1 and value not in choices and not PLACEHOLDER.search(value):
        return f"{option.names[0]} does not take {value}"
    return ""


def _arguments(shown: Shown, command: Command, given: list[str]) -> str:
    most = None if any(argument.many for argument in command.arguments) else len(command.arguments)
    least = sum(argument.required for argument in command.arguments)
    if most is not None and len(given) > most:
        return f"{command.name} takes {most} arguments, not {' '.join(given)}"
    asks = any(word in ("--help", "-h", "--version") for word in shown.words)
    if shown.whole and not asks and len(given) < least:
        return f"{command.name} needs {' '.join(argument.metavar for argument in command.arguments)}"
    if shown.whole and command.children and not asks:
        return f"{command.name} needs a command"
    return ""


def path_of(shown: Shown) -> tuple[str, ...]:
    """Return the path of the command that is called, without options and arguments."""
    command = _root()
    for word in shown.words:
        child = next((each for each in command.children if each.path[-1] == word), None)
        command = child or command
    return command.path
