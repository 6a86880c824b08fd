"""A signal that asks to stop becomes KeyboardInterrupt, and is never lost.

Python runs a handler between any two instructions of the main thread. Where that is in a finaliser or in the callback
of a weak reference (the import machinery has one for each module), an exception is printed and forgotten
(https://docs.python.org/3/reference/datamodel.html#object.__del__): the process would go on as if nobody had asked.
"""

from __future__ import annotations

import signal
from types import FrameType

AGAIN_SECONDS = 0.02
_WEAK = ("weakref.py", "_weakrefset.py")


def interrupt(number: int, frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt: now, or in a moment where it would be lost now. A handler for `signal.signal`."""
    if _forgotten(frame):
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)
        return
    raise KeyboardInterrupt


def _forgotten(frame: FrameType | None) -> bool:
    """Return whether Python would only print an exception that is raised in this frame."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or code.co_filename.endswith(_WEAK):
            return True
        if code.co_name == "cb" and code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
