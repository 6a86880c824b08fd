"""Tells systemd how the daemon is: sd_notify(3), a datagram to the socket in $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket

MICROSECONDS = 1_000_000


def notify(*states: str) -> bool:
    """Send states such as `READY=1`; return whether somebody asked for them and they were sent."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    # An abstract socket's name begins with a zero byte, which a variable cannot hold.
    target = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.sendto("\n".join(states).encode(), target)
    except OSError:
        return False
    return True


def watchdog_seconds() -> float | None:
    """Return how often systemd wants to hear from us: half of $WATCHDOG_USEC; None where it does not."""
    text, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", str(os.getpid()))
    if not text.isdecimal() or pid != str(os.getpid()):
        return None
    return int(text) / MICROSECONDS / 2
