"""Man pages, a page for the program and one for each command, from the application's own words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.commands import NAME, Command, tree

SECTION = 1
FILES = (
    ("/etc/migratekit/config.toml", "the system's configuration; `migratekit config init` writes it"),
    ("$XDG_CONFIG_HOME/migratekit/config.toml", "the user's own, ~/.config without the variable"),
)
EXIT_CODES = (
    (0, "done"),
    (1, "possible and allowed, but it failed"),
    (2, "wrong command line or configuration"),
    (3, "assess found blockers"),
    (4, "a precondition is not met"),
    (5, "authentication or permission"),
    (6, "a service does not answer"),
    (7, "a database has another schema"),
    (8, "busy: another run holds the machine or volume"),
    (130, "interrupted"),
)


def write(folder: Path, version: str, when: int) -> list[Path]:
    """Write all pages into a folder; `when` is the date of the release, in seconds since 1970. Return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    root = tree()
    pages = [root, *root.children]
    date = f"{datetime.fromtimestamp(when, UTC):%Y-%m-%d}"
    written = []
    for command in pages:
        path = folder / f"{_page(command)}.{SECTION}"
        others = [_page(other) for other in pages if other is not command]
        path.write_text(_render(command, others, version, date), encoding="utf-8")
        written.append(path)
    return written


def _page(command: Command) -> str:
    return "-".join((NAME, *command.path[:1]))


def _render(command: Command, others: Sequence[str], version: str, date: str) -> str:
    whole = [command] if not command.path else list(command.walk())
    lines = [f'.TH {_text(_page(command)).upper()} {SECTION} "{date}" "MigrateKit {version}" "MigrateKit manual"']
    lines += [".SH NAME", f"{_text(_page(command))} \\- {_text(command.summary.rstrip('.'))}", ".SH SYNOPSIS"]
    for each in whole:
        rest = _text(each.usage.removeprefix(each.name))
        lines += [".nf", f"\\fB{_text(each.name)}\\fR {rest}".rstrip(), ".fi"]
    lines += [".SH DESCRIPTION", *_paragraphs(command.text)]
    if not command.path:
        lines.append(".SH COMMANDS")
        for child in command.children:
            lines += [".TP", f"\\fB{_text(_page(child))}\\fR({SECTION})", _text(child.summary)]
    for each in whole:
        rows = [(f"\\fI{_text(argument.metavar)}\\fR", argument.text) for argument in each.arguments]
        rows += [(_option(option.names, option.metavar), option.text) for option in each.options]
        if each is not command:
            lines += [f".SH {_text(each.name).upper()}", *_paragraphs(each.text)]
        elif rows:
            lines.append(".SH OPTIONS")
        for head, text in rows:
            lines += [".TP", head, _text(text)]
    if not command.path:
        lines.append(".SH FILES")
        for path, text in FILES:
            lines += [".TP", f"\\fI{_text(path)}\\fR", _text(text)]
    lines.append(".SH EXIT STATUS")
    for code, text in EXIT_CODES:
        lines += [".TP", f"\\fB{code}\\fR", _text(text)]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{_text(name)}\\fR({SECTION})" for name in others)]
    return "\n".join(line for line in lines if line) + "\n"


def _paragraphs(text: str) -> list[str]:
    lines: list[str] = []
    for number, paragraph in enumerate(text.split("\n\n")):
        lines += [".PP"] if number else []
        lines.append(_text(" ".join(paragraph.split())))
    return lines


def _option(names: Sequence[str], metavar: str) -> str:
    shown = ", ".join(f"\\fB{_text(name)}\\fR" for name in names)
    return f"{shown} \\fI{_text(metavar)}\\fR" if metavar else shown


def _text(text: str) -> str:
    """Return text as roff takes it: no dash that is a hyphen, no line that is a request."""
    safe = (
        " ".join(text.split())
        .replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("\u2026", "...")
        .replace("\u2013", "\\(en")
    )
    return f"\\&{safe}" if safe[:1] in (".", "'") else safe
