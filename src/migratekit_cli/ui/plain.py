"""The ways to people's eyes: every line and every console of the command line is made here.

What is written for machines (JSON, YAML, SARIF …) goes to stdout elsewhere, in a form that escapes by itself.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from migratekit_core.common.visible import visible

if TYPE_CHECKING:
    from rich.console import Console


def out(*lines: str) -> None:
    """Write lines to stdout."""
    sys.stdout.write("".join(f"{visible(line)}\n" for line in lines))


def err(*lines: str) -> None:
    """Write lines to stderr."""
    sys.stderr.write("".join(f"{visible(line)}\n" for line in lines))


def console(*, stderr: bool = False) -> Console:
    """Return a console that takes no text for markup or for control sequences."""
    from rich.console import Console
    from rich.segment import Segment

    class Safe(Console):
        def render(self, *arguments: Any, **options: Any) -> Any:
            for segment in super().render(*arguments, **options):
                plain = segment.control or (segment.text.isascii() and segment.text.isprintable())
                yield segment if plain else Segment(visible(segment.text), segment.style)

    if stderr:
        return Safe(stderr=True, markup=False, highlight=False)
    return Safe(file=sys.stdout, markup=False, highlight=False)
