"""The file of `--record FILE`: what was said to other systems, a JSON line for each call.

A line is `{"<call>.<its number>": {…}}`. What is in it is each adapter's own (adapters/cloudstack/record.py,
adapters/vsphere/record.py), and so is what is taken out. Recording never ends a command: what cannot be written is left
out, and that is said once.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from migratekit_core.common.errors import UsageError
from migratekit_core.common.record_file import LineFile
from migratekit_core.common.redact import redact

VARIABLE = "MIGRATEKIT_RECORD"
"""Absolute path of the file; the processes that a command starts inherit it."""

_starting = threading.Lock()
_file: LineFile | None = None
_troubled = False


def begin(path: Path) -> None:
    """Record from now on, in this process and in those that it starts, into `path`, which is made or added to.

    Raises UsageError where it cannot be written, is somebody else's, or holds something else than a recording.
    """
    os.environ[VARIABLE] = str(path.expanduser().absolute())
    file_of_process()


def wanted() -> bool:
    """Return whether anything is recorded."""
    return bool(os.environ.get(VARIABLE))


def file_of_process() -> LineFile:
    """Return the file, opened once. Raises UsageError as `begin` does."""
    global _file
    with _starting:
        if _file is None:
            _file = LineFile(Path(os.environ[VARIABLE]))
        return _file


def add(call: str, line: Mapping[str, Any], note: Callable[[str], None] | None = None) -> None:
    """Add a line for a call; `note` is told, once, where it cannot be written. Raises nothing."""
    try:
        file_of_process().add(lambda number: json.dumps({f"{call}.{number}": line}))
    except (OSError, UsageError) as error:
        trouble(error, note)


def trouble(error: Exception, note: Callable[[str], None] | None = None) -> None:
    """Say that something is not recorded, the first time."""
    global _troubled
    first, _troubled = not _troubled, True
    if first:
        (note or say)(f"not everything is recorded: {redact(str(error) or type(error).__name__)}")


def say(text: str) -> None:
    """Tell whoever sits there."""
    sys.stderr.write(f"warning: {text}\n")


def moment(at: datetime) -> str:
    """Return a moment of UTC as lines have it."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def bounded(value: Any, longest: int) -> Any:
    """Return a JSON-like value, or where it has more than `longest` characters how it begins, and how long it is."""
    text = value if isinstance(value, str) else json.dumps(value)
    return value if len(text) <= longest else f"{text[:longest]}... ({len(text)} characters)"
