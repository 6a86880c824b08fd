"""Bar charts as inline SVG: 400 units wide, so that their text can be read on a phone; every bar has its figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 400
ROW = 40
BAR = 14
ROW_CHARACTERS = 68
"""Of a row: label and figures. A longer path keeps its end, where paths differ; any other label its beginning."""


@dataclass(frozen=True)
class Part:
    """A piece of a bar; `kind` is a CSS class."""

    value: float
    kind: str


@dataclass(frozen=True)
class Bar:
    """A row of a chart: its label, its pieces one after another, and its figures."""

    label: str
    parts: tuple[Part, ...]
    figures: str


def chart(title: str, bars: Sequence[Bar]) -> str:
    """Return a chart; the longest bar fills the width."""
    height = ROW * len(bars) + 4
    longest = max((sum(part.value for part in bar.parts) for bar in bars), default=0) or 1
    rows = [_row(bar, number * ROW, WIDTH / longest) for number, bar in enumerate(bars)]
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(rows)}</svg>"
    )


def _row(bar: Bar, top: float, scale: float) -> str:
    label, room = bar.label, max(ROW_CHARACTERS - len(bar.figures), 12)
    if len(label) > room:
        keep = room - 1
        label = f"…{label[-keep:]}" if label.startswith("/") else f"{label[:keep]}…"
    pieces = [
        f'<text x="0" y="{top + 14}">{escape(label)}</text>',
        f'<text x="{WIDTH}" y="{top + 14}" class="figure">{escape(bar.figures)}</text>',
        f'<rect x="0" y="{top + 19}" width="{WIDTH}" height="{BAR}" class="ground"/>',
    ]
    left = 0.0
    for part in bar.parts:
        width = part.value * scale
        # What is there must be seen, be it ever so little.
        shown = max(width, 2.0) if part.value > 0 else 0.0
        pieces.append(f'<rect x="{left:.1f}" y="{top + 19}" width="{shown:.1f}" height="{BAR}" class="{part.kind}"/>')
        left += width
    return "".join(pieces)


@dataclass(frozen=True)
class Column:
    """A piece of time in a chart over time; `kind` is a CSS class."""

    value: float
    kind: str


COLUMNS_HEIGHT = 120


def columns(title: str, values: Sequence[Column], highest: str, labels: tuple[str, str]) -> str:
    """Return a chart over time, as tall as `highest` says, from the first to the second of `labels`."""
    top, room = 20, COLUMNS_HEIGHT
    most = max((each.value for each in values), default=0) or 1
    wide = WIDTH / max(len(values), 1)
    pieces = [
        f'<text x="0" y="14">{escape(highest)}</text>',
        f'<rect x="0" y="{top}" width="{WIDTH}" height="{room}" class="ground"/>',
    ]
    for number, each in enumerate(values):
        tall = room * each.value / most
        if tall > 0:
            pieces.append(
                f'<rect x="{number * wide:.1f}" y="{top + room - tall:.1f}" width="{max(wide - 0.5, 0.5):.1f}" '
                f'height="{tall:.1f}" class="{each.kind}"/>'
            )
    below = top + room + 14
    pieces.append(f'<text x="0" y="{below}">{escape(labels[0])}</text>')
    pieces.append(f'<text x="{WIDTH}" y="{below}" class="figure">{escape(labels[1])}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {below + 6}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(pieces)}</svg>"
    )
