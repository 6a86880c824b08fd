"""The joblog: every piece of work, step by step, in the database before and after it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migratekit_core.joblog.tracker import Entry, Job, Step, Tracker

__all__ = ["Entry", "Job", "Step", "Tracker"]


def __getattr__(name: str) -> Any:
    """Load the tracker, and SQLAlchemy with it, only for who uses it: `jobs list` and the tunnel do not."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from migratekit_core.joblog import tracker

    return getattr(tracker, name)
