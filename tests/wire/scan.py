"""Which TCP ports of an address answer: every one of the 65,535 is tried with a real connection."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from dataclasses import dataclass

SECONDS = 2.0
"""For a port that says nothing; on a link of this machine an answer takes microseconds."""


@dataclass(frozen=True)
class Scan:
    """What was found."""

    address: str
    open: list[int]
    outcomes: dict[str, int]
    """How many ports ended how, by errno's name; `open` for those that took the connection."""


def scan(address: str, device: str = "") -> Scan:
    """Try every port of an address from the namespace that this thread is in; `device` is an IPv6 link's scope."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    scope = socket.if_nametoindex(device) if device else 0
    found, outcomes = [], Counter[str]()
    for port in range(1, 65536):
        with socket.socket(family) as client:
            client.settimeout(SECONDS)
            place = (address, port, 0, scope) if family == socket.AF_INET6 else (address, port)
            try:
                code = client.connect_ex(place)
            except TimeoutError:
                code = errno.ETIMEDOUT
            if code == 0:
                found.append(port)
            outcomes["open" if code == 0 else errno.errorcode.get(code, str(code))] += 1
    return Scan(address, found, dict(outcomes))
