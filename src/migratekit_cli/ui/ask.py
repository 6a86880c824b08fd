"""Every question that a command asks; nothing else of the command line asks any.

While a question waits it is the last line of the screen: live displays are taken off, and what other threads write to
stderr comes after the answer.
"""

from __future__ import annotations

import os
import sys
import termios
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer

from migratekit_cli.ui.display import cleared
from migratekit_cli.ui.unbroken import others_wait
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.visible import visible

UNCHANGED = "Nothing was changed."
DECLINED_EXIT_CODE = 1
COLUMNS = 80
"""Where the terminal does not say how wide it is."""
ROOM = 3
"""Columns that are left free where a line is broken: an answer has to be typed behind a question."""
INDENT = "   "
LOCAL_FLAGS = 3
"""Of what termios tells of a terminal."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C (or SIGTERM) at a question; `unchanged` says what state that left."""

    def __init__(self, unchanged: str) -> None:
        super().__init__(unchanged)
        self.unchanged = unchanged


def possible() -> bool:
    """Return whether somebody can be asked: who sees the question and can answer it, on a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm(question: str, yes: bool, about: Sequence[str] = (), unchanged: str = UNCHANGED) -> None:
    """Ask before something is changed for good, below lines on what it is `about`; with `yes` nothing is asked.

    Only an answer that was typed after the question counts. A no, or the end of input, is answered with `unchanged` and
    ends the command with exit 1. Raises UsageError where nobody can be asked, Interrupted at Ctrl-C.
    """
    if yes:
        return
    if not possible():
        _say(*about)
        raise UsageError(
            "this needs a confirmation", "there is no terminal to ask on", "pass --yes", code=ErrorCode.NO_TERMINAL
        )
    with _asking(unchanged):
        _say(*about)
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        while True:
            said = (_line(f"{question} [y/N]: ") or "").strip().lower() or "no"
            if said in ("y", "yes", "n", "no"):
                break
            _say("answer y or n")
    if said[0] == "n":
        _decline(unchanged)


def text(question: str, default: str | None = None, about: Sequence[str] = (), unchanged: str = UNCHANGED) -> str:
    """Ask for a line of text and return it without spaces around; `default` where nothing is typed.

    Without a default it asks until something is. The end of input is answered with `unchanged` and ends the command
    with exit 1. Raises Interrupted at Ctrl-C.
    """
    with _asking(unchanged):
        _say(*about)
        while True:
            said = _line(f"{question} [{default}]: " if default else f"{question}: ")
            if said is None or said.strip() or default is not None:
                break
    if said is None:
        _decline(unchanged)
    return said.strip() or default or ""


def hidden(question: str, about: Sequence[str] = (), unchanged: str = UNCHANGED) -> str:
    """Ask for a secret, which the terminal does not show while it is typed; return it, empty where none is.

    The end of input is answered with `unchanged` and ends the command with exit 1. Raises Interrupted at Ctrl-C.
    """
    with _asking(unchanged):
        _say(*about)
        with _without_echo():
            said = _line(f"{question} (not shown): ")
            sys.stderr.write("\n")
    if said is None:
        _decline(unchanged)
    return said


@contextmanager
def _asking(unchanged: str) -> Iterator[None]:
    """Have the terminal for one question and its answer. Raises UsageError where there is none."""
    if not possible():
        raise UsageError(
            "this asks questions",
            "there is no terminal to ask on",
            "give the answers as options",
            code=ErrorCode.NO_TERMINAL,
        )
    with cleared(), others_wait():
        try:
            yield
        except KeyboardInterrupt:
            sys.stderr.write("\n")
            raise Interrupted(unchanged) from None


def _decline(unchanged: str) -> NoReturn:
    _say(unchanged)
    raise typer.Exit(DECLINED_EXIT_CODE)


def _line(question: str) -> str | None:
    """Write a question and return the line that is typed, without its end; None at the end of input."""
    while True:
        sys.stderr.write(f"{_fitted(question)} ")
        sys.stderr.flush()
        try:
            typed = sys.stdin.buffer.readline()
        except OSError:  # the terminal is gone
            typed = b""
        if not typed:
            sys.stderr.write("\n")
            return None
        try:
            return typed.decode(sys.stdin.encoding).rstrip("\r\n")
        except UnicodeDecodeError:
            _say(f"that is no text in {sys.stdin.encoding}")


@contextmanager
def _without_echo() -> Iterator[None]:
    """Have the terminal not show what is typed; what was typed before is dropped."""
    before = termios.tcgetattr(sys.stdin)
    quiet = [*before]
    quiet[LOCAL_FLAGS] &= ~termios.ECHO
    termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _say(*lines: str) -> None:
    sys.stderr.write("".join(f"{_fitted(line)}\n" for line in lines))
    sys.stderr.flush()


def _fitted(line: str) -> str:
    """Return a line whose words stay whole on a terminal that is too narrow for it; what is left goes on indented.

    Characters that move the cursor or change colours are escaped: names come from elsewhere.
    """
    shown = visible(line)
    if not sys.stderr.isatty():
        return shown
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except OSError:
        columns = COLUMNS
    indent = shown[: len(shown) - len(shown.lstrip())] + INDENT if shown[:1] == " " else ""
    return textwrap.fill(
        shown, columns - ROOM, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
