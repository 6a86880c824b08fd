"""Pages are made by templates, which escape whatever they are given; Python holds no HTML."""

from __future__ import annotations

import ast
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from migratekit_cli.reports import pages
from migratekit_cli.reports.charts import Bar, Column, Part, chart, columns
from migratekit_cli.reports.parts import Cell, Figure, Table, Tile, badge, code, path

SOURCE = Path(__file__).resolve().parents[2] / "src"
TAGS = (
    "a|b|body|br|circle|code|dd|details|div|dl|dt|em|figure|footer|form|g|h[1-6]|head|header|hr|html|i|iframe|img|input"
    "|li|line|link|main|meta|nav|ol|p|path|polyline|pre|rect|script|section|span|strong|style|summary|svg|table|tbody"
    "|td|text|tfoot|th|thead|title|tr|tspan|ul|wbr"
)
HTML = re.compile(rf"<!doctype|</?(?:{TAGS})(?=[\s/>]|$)", re.IGNORECASE)
HOSTILE = "<script>alert(1)</script>\"'&{{ 7*7 }}{% include 'x' %}"
SHORT = "<i>{{7*7}}</i>"
"""Fits into a row of a chart."""


def html_in(source: str) -> list[str]:
    """Return the strings of a Python file that hold HTML, its docstrings left out."""
    tree = ast.parse(source)
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if id(node) not in documentation and HTML.search(node.value)
    ]


@pytest.mark.parametrize(
    "source", ["x = '<b>bold</b>'", "x = f'<td class=\"{y}\">{z}</td>'", "x = '<TABLE\\n>'", "x = ('a' '<svg ')"]
)
def test_html_in_python_is_found(source: str) -> None:
    assert html_in(source)


def test_what_is_no_html_is_not_found() -> None:
    assert html_in('def f():\n    """Draws a <table>."""\n    return "a < b, <NAME>, <testcase/>, List<p2>"\n') == []


def test_no_python_of_ours_holds_html() -> None:
    found = {str(file.relative_to(SOURCE)): html_in(file.read_text()) for file in SOURCE.rglob("*.py")}
    assert {file: held for file, held in found.items() if held} == {}


class Page(HTMLParser):
    """What a page shows, and which elements it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shown, self.elements, self.values = "", set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.values |= {value or "" for _, value in attrs}

    def handle_data(self, data: str) -> None:
        self.shown += data


def hostile_page() -> str:
    """Return a page whose every text is hostile."""
    drawn = [
        Figure(HOSTILE, chart(HOSTILE, [Bar(SHORT, (Part(1, "data"),), SHORT)]), HOSTILE),
        Figure(HOSTILE, columns(HOSTILE, [Column(1, "data")], HOSTILE, (HOSTILE, HOSTILE))),
    ]
    cells = [HOSTILE, badge(HOSTILE, "ok"), code(HOSTILE), path(HOSTILE), Cell(HOSTILE, lead=HOSTILE)]
    return pages.render(
        "assessment.html",
        title=HOSTILE,
        heading=HOSTILE,
        below=HOSTILE,
        tiles=[Tile(HOSTILE, HOSTILE)],
        charts=drawn,
        found=drawn[0],
        tables=[Table(HOSTILE, (HOSTILE,) * len(cells), [list(cells)], note=HOSTILE, folded=folded)
                for folded in (None, True, False)],
        besides=[HOSTILE],
    )  # fmt: skip


def test_a_hostile_name_is_shown_as_it_is() -> None:
    page = Page(hostile_page())
    assert not page.elements & {"script", "i"}
    # title, heading, below; the tile's two; three figures with heading and title, two with a note, and the columns'
    # three labels; three tables with heading, five headings, six texts and a note; one line besides.
    assert page.shown.count(HOSTILE) == 3 + 2 + (3 * 2 + 2 + 3) + 3 * (1 + 5 + 6 + 1) + 1
    assert page.shown.count(SHORT) == 2 * 2
    assert HOSTILE in page.values, "an attribute, whole"


def test_a_page_without_something_that_its_template_shows_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="heading"):
        pages.render("wave.html", title="x")
