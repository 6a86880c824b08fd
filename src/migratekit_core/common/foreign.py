"""What other programs say: one table for each program, next to the code that starts or calls it.

The first row that fits decides; each row's samples are its test (tests/unit/test_foreign.py). A text that no row knows
is `unknown`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from migratekit_core.common.codes import ErrorCode


class Row(NamedTuple):
    """A kind of fault that a program tells."""

    code: ErrorCode
    pattern: str
    """A regular expression that is searched for in the text, without regard to case."""
    samples: tuple[str, ...]
    """What the program said, word for word."""


def classify(rows: Sequence[Row], text: str) -> ErrorCode:
    """Return what a text of a program means, by its table."""
    for row in rows:
        if re.search(row.pattern, text, re.IGNORECASE):
            return row.code
    return ErrorCode.UNKNOWN
