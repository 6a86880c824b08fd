"""When the volume daemon is asked again: while it, or CloudStack behind it, does not answer, or a volume is busy."""

from __future__ import annotations

from dataclasses import dataclass

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import BusyError, MigrateKitError, UnreachableError
from migratekit_core.common.patience import growing

BUSY_SECONDS = 0.3
"""Between two attempts at a volume that is being worked on."""


@dataclass(frozen=True)
class Patience:
    """How long a request is made again, in seconds.

    One that changes something has a key, and is one operation however often it comes.
    """

    outage: float = 180.0
    """While nobody answers (a restart, a link that is cut for a minute), or CloudStack refuses the daemon's calls for
    longer than that waits."""
    busy: float = 0.0
    """While another operation works on the volume."""

    def longest(self, error: MigrateKitError) -> float:
        """Return for how many seconds in all a request that ended with this error is made again."""
        return self.busy if isinstance(error, BusyError) else self.outage

    def pause(self, error: MigrateKitError, command: str, waited: float, attempt: int) -> float | None:
        """Return how many seconds to wait before the request is made again; None where it is not."""
        if isinstance(error, BusyError):
            return BUSY_SECONDS if waited <= self.busy else None
        if isinstance(error, UnreachableError) or error.code is ErrorCode.THROTTLED:
            return growing(attempt, 0.2, 5.0) if waited < self.outage else None
        return None
