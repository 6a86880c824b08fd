"""Lists on stdout, on a terminal: everything else is tested with discover."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

from migratekit_cli.ui.stream import WIDTHS_FROM

SCRIPT = """
from migratekit_cli.ui.stream import TableStream
table = TableStream(("NAME", "SIZE"), lambda item: item)
for n in range({count}):
    table.add((f"m{{n}}", None if n == 1 else n))
    if n == {pause}:
        input()
table.end()
"""


def on_a_terminal(count: int, pause: int) -> tuple[str, str]:
    """What a table shows before and after its writer pauses."""
    master, slave = pty.openpty()
    script = SCRIPT.format(count=count, pause=pause)
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=slave) as process:
        os.close(slave)
        before, after = "", ""
        while f"m{WIDTHS_FROM - 1} " not in before and pause < count:
            before += os.read(master, 4096).decode()
        process.communicate(b"\n", timeout=30)
        try:
            while chunk := os.read(master, 4096):
                after += chunk.decode()
        except OSError:  # how Linux ends a terminal
            pass
        finally:
            os.close(master)
    return before, after


def test_a_long_table_is_shown_before_it_ends() -> None:
    before, after = on_a_terminal(WIDTHS_FROM + 20, WIDTHS_FROM)
    assert before.splitlines()[0].split() == ["NAME", "SIZE"]
    assert f"m{WIDTHS_FROM + 19}" in after


def test_a_short_table_is_aligned() -> None:
    _, lines = on_a_terminal(3, 99)
    assert lines.splitlines() == ["NAME  SIZE", "m0    0", "m1", "m2    2"]


def test_a_full_disk_is_named_and_is_no_lost_connection() -> None:
    script = (
        "from migratekit_cli.ui.stream import TableStream\n"
        "from migratekit_core.common.errors import OperationFailedError\n"
        "try:\n    TableStream(('NAME',), lambda item: item)\n"
        "except OperationFailedError as error:\n    raise SystemExit(str(error)) from None\n"
    )
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert "the list cannot be written: stdout: No space left on device" in done.stderr
