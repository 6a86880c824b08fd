"""Names as nobody gives them but somebody who means harm, and what may come of them in what people read."""

from __future__ import annotations

import re

COPY = "\x1b]52;c;ZXZpbA==\x07"
"""Puts a text into the clipboard, on many terminals."""
NAMES = (
    "web[prod]-01",
    "[datastore1] x",
    "web[/]01",
    f"copy{COPY}",
    "c1\x9b2Jgone",
    "red\x1b[31m\x1b[8mhidden",
    "invoice\u202efdp.exe",
    "iso\u2066late\u2069d\u200b",
    "=cmd|' /C calc'!A0",
    "two\nlines\tand\rmore",
    "<script>alert(1)</script>",
    "{{7*7}}{0}",
    "[x](javascript:alert(1))",
    "@all see https://evil.example #1",
    "../../etc/passwd",
)
OF_VSPHERE = "[/]web[prod]-01 {0} \x9b2J \u202efdp.exe <b> =1"
"""All in one that XML, and so vSphere's answers, can hold."""
WORST = (f"copy{COPY}", "web[/]01", "invoice\u202efdp.exe")
_OURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]|\x1b\[(0|[0-9]+(;[0-9]+)*)?m")
"""What we move the cursor and colour with on a terminal."""


def harmful(text: str, terminal: bool = False) -> list[str]:
    """Return what in an output does more than to be read."""
    if terminal:
        text = _OURS.sub("", text).replace("\r", "")
        if "\x1b[8m" in text or "\x1b[31m\x1b[8m" in text:
            return ["a colour that is not ours"]
    return sorted({repr(each) for each in text if not (each.isprintable() or each in "\n\t")})
