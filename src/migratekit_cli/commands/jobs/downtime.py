"""Draws a downtime: a line for each step, with a bar where in the whole it lies."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from migratekit_core.common.units import human_seconds

if TYPE_CHECKING:
    from migratekit_core.services.failover.downtime import Downtime

WIDTH = 48


def drawn(downtime: Downtime) -> str:
    """Return the lines, for people."""
    total = max(downtime.seconds, 1e-9)
    bar = "█" if (sys.stdout.encoding or "").lower().startswith("utf") else "#"
    names = max(len(span.step) for span in downtime.spans)
    lines = []
    for span in downtime.spans:
        begin = min(round(WIDTH * span.offset / total), WIDTH - 1)
        length = max(round(WIDTH * span.seconds / total), 1)
        drawing = " " * begin + bar * min(length, WIDTH - begin)
        lines.append(f"  {span.step:<{names}} {human_seconds(span.seconds):>10}  {drawing}")
    return "\n".join(lines)


def fields(downtime: Downtime) -> list[dict[str, Any]]:
    """Return the steps, for JSON."""
    return [{"step": span.step, "offset": span.offset, "seconds": span.seconds} for span in downtime.spans]
