"""Which process sends a request: what one client has asked, another one does not know."""

from __future__ import annotations

import contextlib
from pathlib import Path


def client(peer: tuple[str, int]) -> str:
    """Return the process at the other end of a connection, or its host where that is not on this one's network."""
    inode = _inode(peer)
    holder = _holder(inode) if inode else None
    return f"pid {holder}" if holder else peer[0]


def _inode(peer: tuple[str, int]) -> str | None:
    """Return the inode of the socket at that address: /proc/net/tcp has it as hexadecimal numbers."""
    address = bytes(int(part) for part in reversed(peer[0].split("."))).hex().upper() + f":{peer[1]:04X}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[1] == address:
                return fields[9]
    return None


def _holder(inode: str) -> int | None:
    wanted = f"socket:[{inode}]"
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if str(descriptor.readlink()) == wanted:
                        return int(process.name)
    return None
