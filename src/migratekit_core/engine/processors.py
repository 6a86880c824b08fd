"""Which processors a thread of the engine runs on."""

from __future__ import annotations

import os


def keep_to(share: int, of: int) -> bool:
    """Have the calling thread run on one of `of` equal shares of the processors only; return whether it does.

    Carriers that may run anywhere are woken wherever the server runs that has something for them: both on one
    processor for a while, and the other one sleeps. On two processors a far copy took a sixth longer that way, and a
    near one a twentieth. Where there are more, a share is several of them, so that a thread can make room for others.
    """
    try:
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < of:
            return False
        os.sched_setaffinity(0, allowed[len(allowed) * share // of : len(allowed) * (share + 1) // of])
    except OSError:
        return False
    return True
