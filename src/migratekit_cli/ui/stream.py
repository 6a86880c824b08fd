"""Long lists on stdout, written as they are read: nobody waits for the last machine to see the first one."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import typer

from migratekit_cli.ui.unbroken import into_nothing
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import INTERRUPTED_EXIT_CODE, OperationFailedError
from migratekit_core.common.visible import no_formula, one_line

Row = Callable[[Any], Sequence[object]]

WIDTHS_FROM = 50
"""Rows that decide how wide the columns of a terminal's table are."""


class ListOutput(StrEnum):
    """Form of a list on stdout."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


def _write(text: str) -> None:
    """Write to stdout, at once: the next page may be long in coming. End in silence where the reader has seen enough
    (`| head`)."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer must not come up again when the interpreter ends.
        into_nothing(sys.stdout.fileno())
        raise typer.Exit(INTERRUPTED_EXIT_CODE) from None
    except OSError as error:
        # Said here, for around the list is a connection to vCenter, whose errors look the same.
        raise OperationFailedError(
            "the list cannot be written",
            f"stdout: {error.strerror}",
            "make room, or write it elsewhere",
            code=ErrorCode.FILE_UNWRITABLE,
        ) from None


class _Stdout:
    """stdout as the csv module wants it."""

    def write(self, text: str) -> None:
        """Write."""
        _write(text)


class Stream(Protocol):
    """A list that is being written. `end` belongs to every list that is whole, and to no other."""

    def add(self, item: Any) -> None:
        """Write an item, a dataclass."""

    def end(self) -> None:
        """Finish the list."""


class JsonStream:
    """`{"schema": …, NAME: […]}`, an item on each line. Without its end it is no JSON: a cut list is never taken for a
    whole one."""

    def __init__(self, schema: str, name: str) -> None:
        _write(f'{{"schema": {json.dumps(schema)}, {json.dumps(name)}: [')
        self._between = "\n"

    def add(self, item: Any) -> None:
        """Write an item."""
        _write(self._between + json.dumps(vars(item), default=vars))
        self._between = ",\n"

    def end(self) -> None:
        """Close the list."""
        _write("\n]}\n")


class YamlStream:
    """The same document in YAML."""

    def __init__(self, schema: str, name: str) -> None:
        import yaml

        self._dump = yaml.dump
        self._dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
        self._name = name
        _write(f"schema: {schema}\n")

    def add(self, item: Any) -> None:
        """Write an item."""
        if self._name:
            _write(f"{self._name}:\n")
            self._name = ""
        plain = json.loads(json.dumps(vars(item), default=vars))
        _write(self._dump([plain], Dumper=self._dumper, sort_keys=False))

    def end(self) -> None:
        """Say that there was nothing, where there was nothing."""
        if self._name:
            _write(f"{self._name}: []\n")


class CsvStream:
    """RFC 4180, with a line of column names."""

    def __init__(self, columns: Sequence[str], row: Row) -> None:
        self._writer = csv.writer(_Stdout())
        self._row = row
        self._writer.writerow(columns)

    def add(self, item: Any) -> None:
        """Write an item."""
        self._writer.writerow(["" if cell is None else no_formula(cell) for cell in self._row(item)])

    def end(self) -> None:
        """Write nothing more."""


class TableStream:
    """Aligned on a terminal, tab-separated and unwrapped where it is piped: for cut, awk and diff."""

    def __init__(self, columns: Sequence[str], row: Row) -> None:
        self._row = row
        self._columns = list(columns)
        self._piped = not sys.stdout.isatty()
        self._first: list[list[str]] | None = None if self._piped else [self._columns]
        self._widths: list[int] = []
        self._line = shutil.get_terminal_size().columns
        if self._piped:
            self._write([column.lower() for column in columns])

    def add(self, item: Any) -> None:
        """Write an item, or keep it until the widths are known."""
        cells = [one_line(str("" if cell is None else cell)) for cell in self._row(item)]
        if self._first is None:
            self._write(cells)
            return
        self._first.append(cells)
        if len(self._first) > WIDTHS_FROM:
            self.end()

    def end(self) -> None:
        """Write what was kept."""
        if self._first is None:
            return
        rows, self._first = self._first, None
        self._widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            self._write(row)

    def _write(self, cells: list[str]) -> None:
        if self._piped:
            _write("\t".join(cells) + "\n")
            return
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, self._widths, strict=True)).rstrip()
        _write((line if len(line) <= self._line else line[: self._line - 1] + "…") + "\n")
