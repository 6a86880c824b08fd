"""A command on a terminal of 80 columns and 24 lines: what it writes, and what the screen then shows."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyte

from tests import forked

COMMAND = Path(sys.executable).parent / "migratekit"
COLUMNS, LINES = 80, 24


class Terminal:
    """A command on a terminal of its own, which Ctrl-C reaches as it does a person's."""

    def __init__(self, command: tuple[str, ...], environ: Mapping[str, str]) -> None:
        self._outer, inner = pty.openpty()
        subprocess.run(["stty", "cols", str(COLUMNS), "rows", str(LINES)], stdin=inner, check=True, timeout=20)
        self.process = subprocess.Popen(
            command, env={**environ, "TERM": "xterm-256color"}, stdin=inner, stdout=inner, stderr=inner,
            start_new_session=True, preexec_fn=forked.controlling,
        )  # fmt: skip
        os.close(inner)
        self.text = ""
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._emulator = pyte.ByteStream(self._screen)

    def until(self, part: str, seconds: float = 60) -> None:
        """Read until a text was written, wherever on the screen it went and however short it stayed there."""
        deadline = time.monotonic() + seconds
        while part not in self.text:
            assert time.monotonic() < deadline, f"no {part!r} in {self.text!r}"
            assert self.read(), f"it ended without {part!r}: {self.text!r}"

    def until_last(self, block: str, seconds: float = 60) -> None:
        """Read until the screen ends with these lines; empty ones below them do not count."""
        deadline = time.monotonic() + seconds
        while not self.ends_with(block):
            assert time.monotonic() < deadline, f"{block!r} is not the end of:\n{self.screen}"
            assert self.read(0.05), f"it ended, and {block!r} is not the end of:\n{self.screen}"

    def stays_last(self, block: str, seconds: float) -> None:
        """Read so long, and check all the while that the screen ends with these lines and the cursor stands behind."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.read(0.05), f"it ended:\n{self.screen}"
            assert self.ends_with(block), f"{block!r} is not the end any more:\n{self.screen}"
            lines, cursor = self.screen.splitlines(), self._screen.cursor
            assert (cursor.y, cursor.x >= len(lines[-1])) == (len(lines) - 1, True), f"cursor {cursor.y}, {cursor.x}"

    def ends_with(self, block: str) -> bool:
        """Return whether these lines, whole, are the last of the screen."""
        return f"\n{self.screen}".endswith(f"\n{block}")

    def type(self, keys: str) -> None:
        """Type, as a person does: the return key is `\\r`, Ctrl-C `\\x03`."""
        os.write(self._outer, keys.encode())

    def read(self, patience: float = 0.2) -> bool:
        """Read what there is; return False at the end."""
        if not select.select([self._outer], [], [], patience)[0]:
            return True
        try:
            chunk = os.read(self._outer, 65536)
        except OSError:
            return False
        self.text += chunk.decode(errors="replace")
        self._emulator.feed(chunk)
        return bool(chunk)

    def end(self, seconds: float = 60) -> int:
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + seconds
        while self.read() and time.monotonic() < deadline:
            pass
        os.close(self._outer)
        return self.process.wait(10)

    @property
    def screen(self) -> str:
        """Return what the screen shows, to the last line that is not empty."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip("\n")

    @property
    def lines(self) -> list[str]:
        """Return what was written, without colours and movements."""
        return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text))


@contextmanager
def on_terminal(*command: str | Path, environ: Mapping[str, str]) -> Iterator[Terminal]:
    """Run any command on a terminal, which ends with the block."""
    opened = Terminal(tuple(map(str, command)), environ)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()


@contextmanager
def terminal(directory: Path, *arguments: str) -> Iterator[Terminal]:
    """Run migratekit on a terminal, with the databases of a folder."""
    environ = {**os.environ, "MIGRATEKIT_DATABASE__DIRECTORY": str(directory)}
    with on_terminal(COMMAND, *arguments, environ=environ) as opened:
        yield opened
