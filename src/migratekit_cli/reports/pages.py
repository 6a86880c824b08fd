"""A report as one HTML file: it asks nobody for anything, runs no script, and fits screen, phone and paper.

A page module of a report says in plain data what is on it (`parts`, `charts`); its template in templates/ lays that out
and escapes all of it. A name that is HTML, or a template, is shown as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from migratekit_cli.ui import plain
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.common.visible import visible

TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, **content: Any) -> str:
    """Return a page. Every page has `title`, `heading`, `below` (a line below the heading) and `tiles`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(content)


def _shown(value: Any) -> Any:
    """Return what a page has of a value: of a text what prints nothing is an escape; what is HTML already stays."""
    return visible(value) if type(value) is str else value


def write(path: Path, made: datetime, document: Callable[[datetime, str], str]) -> None:
    """Write what `document` makes of the time and our version, and say where. Raises UsageError where it cannot be."""
    from importlib.metadata import version

    from migratekit_core.common.files import write_private

    page = document(made, version("migratekit"))
    try:
        write_private(path, page)
    except OSError as error:
        raise UsageError(
            f"report {path} cannot be written",
            error.strerror or str(error),
            "name another file",
            code=ErrorCode.FILE_UNWRITABLE,
            facts={"path": str(path)},
        ) from None
    plain.err(f"report: {path}")
