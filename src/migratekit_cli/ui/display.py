"""Live displays, which draw themselves again and again at the end of the terminal, and make room for a question.

Each drawing erases the line that the cursor is in. So while a question waits for its answer none may be drawn.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

_lock = threading.RLock()
_begun: list[Display] = []
"""Displays that were begun and have not ended."""
_cleared = False
"""Whether they are off the terminal just now."""


class Display:
    """Something that is drawn at the end of a rich console, below whatever is printed meanwhile.

    `draw` returns what is to be shown. It is drawn `per_second` times by itself, where that is not 0, and whenever
    `refresh` is called. At its end the last drawing stays, or goes with `leave=False`.
    """

    def __init__(self, console: Any, draw: Callable[[], Any], *, per_second: float = 0.0, leave: bool = True) -> None:
        self.console = console
        self._draw, self._per_second, self._leave = draw, per_second, leave
        self._live: Any = None

    def begin(self) -> None:
        """Show it; while a question waits, as soon as it has its answer. Nothing happens where it was begun already."""
        with _lock:
            if self in _begun:
                return
            _begun.append(self)
            if not _cleared:
                self._appear()

    def end(self) -> None:
        """Show it no more. Nothing happens where it was not begun."""
        with _lock:
            if self not in _begun:
                return
            _begun.remove(self)
            self._vanish(self._leave)

    def refresh(self) -> None:
        """Draw it anew, where it is to be seen."""
        with _lock:
            if self._live is not None:
                self._live.refresh()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, *ended: object) -> None:
        self.end()

    def _appear(self) -> None:
        from rich.live import Live

        # A new one each time: an old one would move the cursor up over what was written since.
        self._live = Live(
            console=self.console,
            get_renderable=self._draw,
            auto_refresh=self._per_second > 0,
            refresh_per_second=self._per_second or 1.0,
        )
        self._live.start(refresh=True)

    def _vanish(self, leave: bool) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.transient = not leave
            live.stop()


@contextmanager
def cleared() -> Iterator[None]:
    """Have no live display on the terminal in this block, and those that there were again behind it.

    Raises RuntimeError, a mistake of ours, where one is drawn that is none of these, or where a block is open already.
    """
    global _cleared
    with _lock:
        if _cleared:
            raise RuntimeError("a question is being asked already")
        for display in reversed(_begun):
            display._vanish(leave=False)
        if _is_drawn_on():
            raise RuntimeError("a live display that cannot be taken off the terminal is drawn")
        _cleared = True
    try:
        yield
    finally:
        with _lock:
            _cleared = False
            for display in _begun:
                display._appear()


def _is_drawn_on() -> bool:
    """Return whether some live display of rich has stdout or stderr."""
    if "rich.file_proxy" not in sys.modules:
        return False
    from rich.file_proxy import FileProxy

    return isinstance(sys.stdout, FileProxy) or isinstance(sys.stderr, FileProxy)
