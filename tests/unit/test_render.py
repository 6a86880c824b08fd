"""Tables on a terminal: what somebody has to copy is never torn apart."""

from __future__ import annotations

import io
import re
import uuid

import pytest

from migratekit_cli.ui import render

STYLE = re.compile(r"\x1b\[[0-9;]*m")


class Terminal(io.StringIO):
    """Takes what is drawn."""

    def isatty(self) -> bool:
        return True


def drawn(monkeypatch: pytest.MonkeyPatch, columns: int, table: render.Table) -> list[str]:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "xterm")
    table.write()
    return [line.rstrip() for line in STYLE.sub("", terminal.getvalue()).splitlines()]


@pytest.mark.parametrize("columns", [60, 80, 100, 120, 200])
def test_ids_stay_whole_at_any_width(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    ids = [str(uuid.UUID(int=number)) for number in range(6)]
    table = render.Table("ID", "NAME", "SIZE", "ATTACHED TO", "DRIFT", right=("SIZE",))
    for mine, other in zip(ids[:3], ids[3:], strict=True):
        table.add(mine, "a-volume-with-a-long-name", "40.0 GiB", other, None)
    lines = drawn(monkeypatch, columns, table)
    assert all(any(each in line for line in lines) for each in ids)
    assert all(len(line) <= columns for line in lines)
    # One line for each where there is room, else a line for each value and an empty one between the rows.
    if columns != 100:
        assert len(lines) == (4 if columns > 100 else 3 * 4 + 2)


def test_a_table_without_ids_stays_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = render.Table("STATUS", "WHAT", "WHAT TO DO")
    table.add("failed", "a word of its own", "look at /a/path/that/is/longer/than/any/column/of/this/table/can/be " * 2)
    lines = drawn(monkeypatch, 60, table)
    assert lines[0].split() == ["STATUS", "WHAT", "WHAT", "TO", "DO"]
    assert all(len(line) <= 60 for line in lines)
