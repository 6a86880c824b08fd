"""Has Linux run an engine less often, and longer at a time: the same share of the processors, with fewer changes.

A copy is a chain of processes that wait for each other. Where the engine is woken for each of the parts that a server's
piece arrives in, it takes the processor from that server, finds little to do, and gives it back: on two cores this is a
tenth to a fifth of a copy's time.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

SLICE_SECONDS = 0.01
"""Linux gives each process some 3 ms at a time. With 5 to 20 ms a copy takes as long, whichever it is; Linux takes
no wish beyond 100 ms."""
SCHED_SETATTR = {"x86_64": 314, "aarch64": 274}
"""Numbers of the system call: Debian 12's C library has no function for it (glibc 2.41 is the first that has)."""
FAIR = (os.SCHED_OTHER, os.SCHED_BATCH)
"""Only for these is a slice a wish; whoever had a run scheduled otherwise knows why."""


def favour_throughput(pid: int) -> bool:
    """Ask Linux for longer slices for a process and for what it starts from now on; return whether it took that.

    Linux knows such a wish since 6.12 (`sched_runtime` of sched_setattr(2), in nanoseconds); an older one takes it and
    does nothing. Where it is refused, as in some containers, copies are as correct, and slower.
    """
    number = SCHED_SETATTR.get(platform.machine())
    try:
        policy, nice = os.sched_getscheduler(pid), os.getpriority(os.PRIO_PROCESS, pid)
    except OSError:
        return False
    if number is None or policy not in FAIR:
        return False
    # struct sched_attr, first version: size, policy, flags, nice, priority, runtime, deadline, period.
    wish = struct.pack("=IIQiIQQQ", 48, policy, 0, nice, 0, round(SLICE_SECONDS * 1e9), 0, 0)
    refused: int = ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_long(pid), wish, ctypes.c_long(0))
    return not refused
