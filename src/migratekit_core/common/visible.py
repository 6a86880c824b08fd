"""Names come from vCenter, CloudStack, guests and databases: what a person is shown of them moves no cursor, reaches no
clipboard and turns no line around."""

from __future__ import annotations

import re

_NOT_SHOWN = re.compile(r"[^\n\x20-\x7e]")
FORMULA = ("=", "+", "-", "@")
"""How what spreadsheets take for a formula begins."""


def visible(text: str) -> str:
    """Return a text whose control characters, bidi marks and other characters that print nothing are escapes (`\\x1b`,
    `\\u202e`); ends of lines stay."""
    return _NOT_SHOWN.sub(lambda found: escaped(found[0]), text)


def one_line(text: str) -> str:
    """Return a text as `visible` has it, in one line: ends of lines, tabs and runs of spaces are one space."""
    return visible(" ".join(re.split(r"[ \t\r\n]+", text.strip(" \t\r\n"))))


def escaped(character: str) -> str:
    """Return a character, or its escape where it prints nothing."""
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


def no_formula(cell: object) -> object:
    """Return a cell of a CSV file that no spreadsheet takes for a formula: a text that begins like one gets a quote in
    front (OWASP, CSV injection)."""
    if not isinstance(cell, str):
        return cell
    text = one_line(cell)
    return f"'{text}" if text.startswith(FORMULA) else text
