"""When vSphere is asked again: only for what changes nothing, and only where a new login or connection may help.

Calls that change something are made once: whether an unanswered one was carried out, the next run looks."""

from __future__ import annotations

import http.client
from dataclasses import dataclass

from pyVmomi import vim, vmodl

from migratekit_core.common.patience import growing

TRANSIENT = (vim.fault.NotAuthenticated, vmodl.query.InvalidProperty, OSError, http.client.HTTPException)
"""A session that ended, a property that this vSphere is too old for and that was left out, a broken connection."""


@dataclass(frozen=True)
class Patience:
    """How often the inventory is asked for."""

    attempts: int = 4
    """In a row without a single new object."""
    first: float = 0.5
    """Seconds before the second attempt; it doubles."""

    def pause(self, error: Exception, failures: int) -> float | None:
        """Return how many seconds to wait before the next attempt, after `failures` in a row; None: there is none."""
        if failures >= self.attempts or not isinstance(error, TRANSIENT):
            return None
        return growing(failures, self.first, 8 * self.first)
