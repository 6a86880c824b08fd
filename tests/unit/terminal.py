"""A command on a terminal of 80 columns."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = Path(sys.executable).parent / "migratekit"


class Terminal:
    """A command on a terminal of its own."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._outer, inner = pty.openpty()
        subprocess.run(["stty", "cols", "80", "rows", "24"], stdin=inner, check=True)
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            env={**os.environ, "TERM": "xterm-256color", "MIGRATEKIT_DATABASE__DIRECTORY": str(directory)},
            stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
        )  # fmt: skip
        os.close(inner)
        self.text = ""

    def until(self, part: str, seconds: float = 60) -> None:
        """Read until a text was written."""
        deadline = time.monotonic() + seconds
        while part not in self.text:
            assert time.monotonic() < deadline, f"no {part!r} in {self.text!r}"
            assert self.read(), f"it ended without {part!r}: {self.text!r}"

    def read(self) -> bool:
        """Read what there is; return False at the end."""
        if not select.select([self._outer], [], [], 0.2)[0]:
            return True
        try:
            chunk = os.read(self._outer, 65536)
        except OSError:
            return False
        self.text += chunk.decode(errors="replace")
        return bool(chunk)

    def end(self, seconds: float = 60) -> int:
        """Read to the end, and return the exit code."""
        deadline = time.monotonic() + seconds
        while self.read() and time.monotonic() < deadline:
            pass
        os.close(self._outer)
        return self.process.wait(10)

    @property
    def lines(self) -> list[str]:
        """Return what was written, without colours and movements."""
        return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.text))


@contextmanager
def terminal(directory: Path, *arguments: str) -> Iterator[Terminal]:
    """Run a command on a terminal, which ends with the block."""
    opened = Terminal(directory, *arguments)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
