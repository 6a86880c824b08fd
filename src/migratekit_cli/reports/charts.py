"""Charts 400 units wide, so that their text can be read on a phone; every bar has its figure. Drawn as inline SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDTH = 400
ROW = 40
BAR = 14
ROW_CHARACTERS = 68
"""Of a row: label and figures. A longer path keeps its end, where paths differ; any other label its beginning."""
COLUMNS_HEIGHT = 120


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


@dataclass(frozen=True)
class Column:
    """A piece of time in a chart over time; `kind` is a CSS class."""

    value: float
    kind: str


@dataclass(frozen=True)
class Shape:
    """A rectangle, or where `text` is not None a text that begins there (of kind `figure`: ends there)."""

    x: float
    y: float
    width: float = 0.0
    height: float = 0.0
    kind: str = ""
    text: str | None = None


@dataclass(frozen=True)
class Chart:
    """A drawing; later shapes lie above earlier ones."""

    title: str
    height: float
    shapes: tuple[Shape, ...]
    width: float = WIDTH


def chart(title: str, bars: Sequence[Bar]) -> Chart:
    """Return a chart of bars; the longest one fills the width."""
    longest = max((sum(part.value for part in bar.parts) for bar in bars), default=0) or 1
    shapes = [shape for number, bar in enumerate(bars) for shape in _row(bar, number * ROW, WIDTH / longest)]
    return Chart(title, ROW * len(bars) + 4, tuple(shapes))


def _row(bar: Bar, top: float, scale: float) -> Iterator[Shape]:
    label, room = bar.label, max(ROW_CHARACTERS - len(bar.figures), 12)
    if len(label) > room:
        keep = room - 1
        label = f"…{label[-keep:]}" if label.startswith("/") else f"{label[:keep]}…"
    yield Shape(0, top + 14, text=label)
    yield Shape(WIDTH, top + 14, kind="figure", text=bar.figures)
    yield Shape(0, top + 19, WIDTH, BAR, "ground")
    left = 0.0
    for part in bar.parts:
        width = part.value * scale
        # What is there must be seen, be it ever so little.
        yield Shape(left, top + 19, max(width, 2.0) if part.value > 0 else 0.0, BAR, part.kind)
        left += width


def columns(title: str, values: Sequence[Column], highest: str, labels: tuple[str, str]) -> Chart:
    """Return a chart over time, as tall as `highest` says, from the first to the second of `labels`."""
    top, room = 20, COLUMNS_HEIGHT
    most = max((each.value for each in values), default=0) or 1
    wide = WIDTH / max(len(values), 1)
    shapes = [Shape(0, 14, text=highest), Shape(0, top, WIDTH, room, "ground")]
    for number, each in enumerate(values):
        tall = room * each.value / most
        if tall > 0:
            shapes.append(Shape(number * wide, top + room - tall, max(wide - 0.5, 0.5), tall, each.kind))
    below = top + room + 14
    shapes += [Shape(0, below, text=labels[0]), Shape(WIDTH, below, kind="figure", text=labels[1])]
    return Chart(title, below + 6, tuple(shapes))
