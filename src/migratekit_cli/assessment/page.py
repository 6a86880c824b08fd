"""Parts of a page that is one file: it asks nobody for anything, runs no script, and fits screen, phone and paper."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from migratekit_cli.assessment.style import STYLE


def page(title: str, body: str) -> str:
    """Return a whole page; `body` is HTML."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body>{body}</body></html>\n"
    )


def header(title: str, below: str) -> str:
    """Return the heading of a page."""
    return f"<header><h1>{escape(title)}</h1><p>{escape(below)}</p></header>"


def tile_row(tiles: Iterable[tuple[str, str, str]]) -> str:
    """Return figures in large type: (name, value, kind) with `ok`, `warning`, `blocker` or "" for a kind."""
    cells = "".join(
        f'<div class="tile {kind}"><b>{escape(value)}</b>{escape(name)}</div>' for name, value, kind in tiles
    )
    return f'<section class="tiles">{cells}</section>'


def figure(heading: str, svg: str, note: str = "") -> str:
    """Return a chart with its heading, and a note below it."""
    caption = f"<p>{escape(note)}</p>" if note else ""
    return f"<figure><h2>{escape(heading)}</h2>{svg}{caption}</figure>"


def section(heading: str, body: str, folded: bool = False) -> str:
    """Return a section of HTML; `folded`: closed until somebody opens it."""
    if folded:
        return f"<section><details><summary><h2>{escape(heading)}</h2></summary>{body}</details></section>"
    return f"<section><h2>{escape(heading)}</h2>{body}</section>"


def table(head: Iterable[str], rows: Iterable[list[str]], short: bool = False) -> str:
    """Return a table of cells that are HTML already; each knows its heading, for small screens. `short`: of words."""
    names = tuple(head)
    body = "".join(
        "<tr>" + "".join(f'<td data-name="{name}">{cell}</td>' for name, cell in zip(names, row, strict=True)) + "</tr>"
        for row in rows
    )
    heads = "".join(f"<th>{name}</th>" for name in names)
    kind = ' class="short"' if short else ""
    return f"<table{kind}><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
