"""What a page is made of, as plain data: templates/parts.html has a macro for each, which escapes it."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_cli.reports.charts import Chart


@dataclass(frozen=True)
class Tile:
    """A figure in large type; `kind` is `ok`, `warning`, `blocker` or nothing."""

    name: str
    value: str
    kind: str = ""


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, and a note below it."""

    heading: str
    chart: Chart
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than text. `form` is `badge`, `code`, `path` or nothing; `lead` is in bold."""

    text: str
    form: str = ""
    kind: str = ""
    """Of a badge, as with a tile."""
    lead: str = ""


Row = list[str | Cell]


@dataclass(frozen=True)
class Table:
    """A section with a table. `short`: its cells are words, and stand side by side on a phone."""

    heading: str
    head: tuple[str, ...]
    rows: list[Row]
    short: bool = False
    folded: bool | None = None
    """True: closed until somebody opens it; False: open, but can be closed; None: neither."""
    note: str = ""


def badge(status: str, kind: str) -> Cell:
    """Return a status with a frame."""
    return Cell(status, "badge", kind)


def code(text: str) -> Cell:
    """Return an id, or something else that is copied."""
    return Cell(text, "code") if text else Cell("")


def path(text: str) -> Cell:
    """Return a path, which breaks lines where its parts begin."""
    return Cell(text, "path")
