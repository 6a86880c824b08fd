"""The joblog: every piece of work, step by step, in the database before and after it happens."""

from migratekit_core.joblog.tracker import Job, Step, Tracker

__all__ = ["Job", "Step", "Tracker"]
