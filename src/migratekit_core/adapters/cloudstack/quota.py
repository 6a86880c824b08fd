"""What an account may still use, against what is to be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Need:
    """What is to be made. Sizes as CloudStack counts them: memory in MiB, primary storage in GiB."""

    machines: int = 0
    cpus: int = 0
    memory: int = 0
    volumes: int = 0
    primary_storage: int = 0
    snapshots: int = 0


UNLIMITED = "Unlimited"


@dataclass(frozen=True)
class Shortfall:
    """A limit that would be exceeded."""

    what: str
    needed: int
    left: int
    limit: str

    def __str__(self) -> str:
        return f"{self.what}: {self.needed} needed, {self.left} left of {self.limit}"


def shortfalls(account: Row, need: Need) -> Iterator[Shortfall]:
    """Yield the limits of a row of listAccounts that do not suffice; a limit that it does not tell counts as none."""
    wanted = {
        "vm": ("machines", need.machines),
        "volume": ("volumes", need.volumes),
        "primarystorage": ("GiB of primary storage", need.primary_storage),
        "cpu": ("CPUs", need.cpus),
        "memory": ("MiB of memory", need.memory),
        "snapshot": ("snapshots", need.snapshots),
    }
    for key, (what, needed) in wanted.items():
        # "Unlimited", or a number as text; a limit of -1 is none in some versions. What is available is below zero
        # where a limit was lowered under what is in use.
        limit, available = (str(account.get(f"{key}{name}", UNLIMITED)) for name in ("limit", "available"))
        if not limit.isdigit() or not available.lstrip("-").isdigit():
            continue
        left = max(0, int(available))
        if needed > left:
            yield Shortfall(what, needed, left, limit)
