"""Throughput over request size and over connections, near and far: measured, and drawn as SVG."""

from __future__ import annotations

import statistics
from pathlib import Path

import pygal
from pygal.style import Style

from migratekit_core.engine.job import Job
from tests.bench.images import KIB, MIB, random_image
from tests.bench.measure import GIB, Pair, engine, pair

SIZE = 1 * GIB
RUNS = 3
REQUESTS = [64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB]
CONNECTIONS = [1, 2, 4, 8, 16]
PLACES = {"target on this host": [], "target 20 ms away": ["delay", "wdelay=20ms"]}
STYLE = Style(background="white", plot_background="white", font_family="sans-serif", colors=("#1f6feb", "#d1242f"))


def draw(folder: Path, results: Path) -> list[Path]:
    """Measure and draw; return the files written beside `results`."""
    image = random_image(folder, SIZE)
    by_request: dict[str, list[float]] = {}
    by_connections: dict[str, list[float]] = {}
    for place, filters in PLACES.items():
        with pair(folder, image, SIZE, target=filters) as ends:
            by_request[place] = [_rate(ends, request_size=size) for size in REQUESTS]
            by_connections[place] = [_rate(ends, connections=count) for count in CONNECTIONS]
    sizes = [f"{size // KIB} KiB" if size < MIB else f"{size // MIB} MiB" for size in REQUESTS]
    return [
        _chart(
            results.with_name("request-size.svg"), "Throughput over request size", "request size", sizes, by_request
        ),
        _chart(
            results.with_name("connections.svg"),
            *("Throughput over connections", "connections to each side"),
            *([str(count) for count in CONNECTIONS], by_connections),
        ),
    ]


def _rate(ends: Pair, **settings: int) -> float:
    """Return GiB per second, the median of a few runs."""
    job = Job("plot", ends.source, ends.target, SIZE, full=True)._replace(**settings)  # type: ignore[arg-type]
    return SIZE / GIB / statistics.median(engine(job, [(0, SIZE)])[0] for _ in range(RUNS))


def _chart(path: Path, title: str, axis: str, labels: list[str], lines: dict[str, list[float]]) -> Path:
    # Neither scripts nor fonts from elsewhere: the file is shown by itself, and in the documentation.
    chart = pygal.Line(
        title=title, x_title=axis, y_title="GiB/s", x_labels=labels, style=STYLE, js=[],
        width=760, height=420, legend_at_bottom=True, show_minor_y_labels=True,
    )  # fmt: skip
    chart.range = (0, max(max(values) for values in lines.values()) * 1.1)
    for name, values in lines.items():
        chart.add(name, [round(value, 3) for value in values])
    path.write_bytes(chart.render())
    return path
