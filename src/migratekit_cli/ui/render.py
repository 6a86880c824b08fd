"""Results on stdout: tables for people, JSON or YAML for machines. Nothing else is ever written to stdout."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from typing import Any

from migratekit_cli.options import Output
from migratekit_cli.ui import plain
from migratekit_core.common.visible import visible

ID = re.compile(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
"""What is never broken in a table, for somebody has to copy it: without room for it, each row is drawn as a record."""
BROKEN = 10
"""How much room other words get at least."""
GAP = 2
"""Between two columns."""


def result(output: Output, schema: str, data: dict[str, Any], table: Table | None = None, text: str = "") -> None:
    """Write a result. `schema` names its JSON form and version (docs/json.md); `table` or `text` is for people."""
    if output is Output.TABLE:
        if text:
            plain.out(text.rstrip("\n"))
        if table is not None:
            table.write()
        return
    document = {"schema": schema, **data}
    if output is Output.JSON:
        sys.stdout.write(json.dumps(document, indent=2, default=str) + "\n")
        return
    sys.stdout.write(_yaml(document))


def piece(output: Output, schema: str, data: dict[str, Any]) -> None:
    """Write one of many results: a line of JSON, or a document of a YAML stream."""
    document = {"schema": schema, **data}
    if output is Output.JSON:
        sys.stdout.write(json.dumps(document, default=str) + "\n")
        return
    sys.stdout.write("---\n" + _yaml(document))


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(json.loads(json.dumps(document, default=str)), sort_keys=False)
    return text


def named(data: dict[str, Any]) -> dict[str, Any]:
    """Return a result whose machine is called `vm`, as in every JSON form."""
    return {"vm" if key == "vm_name" else key: value for key, value in data.items()}


def count(number: int, thing: str) -> str:
    """Return `1 volume`, `2 volumes`."""
    return f"{number} {thing}" + ("" if number == 1 else "s")


class Table:
    """A table, drawn on a terminal and plain where it is piped."""

    def __init__(self, *columns: str, right: Sequence[str] = ()) -> None:
        self._columns = columns
        self._right = set(right)
        self._rows: list[list[str]] = []

    def add(self, *cells: object) -> None:
        """Add a row."""
        self._rows.append(["" if cell is None else visible(str(cell)) for cell in cells])

    def write(self) -> None:
        """Write it to stdout."""
        if not sys.stdout.isatty():
            # Tab-separated and unwrapped: for cut, awk and diff.
            for row in [[column.lower() for column in self._columns], *self._rows]:
                sys.stdout.write("\t".join(" ".join(cell.split()) for cell in row) + "\n")
            return
        console = plain.console()
        columns = list(zip(self._columns, *self._rows, strict=True))
        least, most = ([max(map(size, cells)) for cells in columns] for size in (_least, len))
        between = GAP * (len(columns) - 1)
        if sum(least) + between <= console.width:
            # rich takes width away from every column that it may wrap; from one with a width of its own it does not.
            tight = sum(most) + between > console.width
            console.print(self._drawn([width if tight and width > BROKEN else None for width in least]))
            return
        for number, row in enumerate(self._rows):
            if number:
                console.print()
            console.print(self._record(row))

    def _drawn(self, widths: Sequence[int | None]) -> Any:
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(box=None, header_style="bold", pad_edge=False)
        for column, width in zip(self._columns, widths, strict=True):
            right = column in self._right
            drawn.add_column(column, justify="right" if right else "left", overflow="fold", width=width)
        for row in self._rows:
            drawn.add_row(*map(Text, row))
        return drawn

    def _record(self, row: list[str]) -> Any:
        """Return a row drawn as lines of name and value: an id that is torn apart cannot be copied."""
        from rich.table import Table as RichTable
        from rich.text import Text

        drawn = RichTable(box=None, show_header=False, pad_edge=False)
        drawn.add_column(style="bold", min_width=max(map(len, self._columns)), no_wrap=True)
        drawn.add_column(overflow="fold")
        for name, cell in zip(self._columns, row, strict=True):
            if cell:
                drawn.add_row(name, Text(cell))
        return drawn


def _least(text: str) -> int:
    """Return how many characters a cell needs."""
    found = ID.search(text)
    return len(found[0]) if found else min(max(map(len, text.split()), default=0), BROKEN)
