"""The places between two steps of the daemon's operations (common.failpoints), in a folder of its own."""

from __future__ import annotations

from migratekit_core.adapters.cloudstack.client import AsyncJobs
from migratekit_core.common import failpoints as points
from migratekit_core.common.failpoints import Points

VARIABLE = "MIGRATEKIT_DAEMON_POINTS"


def from_environment() -> Points:
    """Return the places as the environment wants them; nothing happens there as a rule."""
    return points.from_environment(VARIABLE)


class PassedJobs:
    """CloudStack jobs of an operation, with the places around their records."""

    def __init__(self, jobs: AsyncJobs, points: Points, kind: str) -> None:
        self._jobs = jobs
        self._points = points
        self._kind = kind
        self._commands: dict[str, str] = {}

    def started(self, job_id: str, command: str) -> None:
        """CloudStack has answered, nothing of it is written down yet; then it is."""
        self._commands[job_id] = command
        self._points.reach(f"{self._kind}/{command}/answered")
        self._jobs.started(job_id, command)
        self._points.reach(f"{self._kind}/{command}/tracked")

    def ended(self, job_id: str, status: str) -> None:
        """The job has ended, nothing of it is written down yet."""
        self._points.reach(f"{self._kind}/{self._commands.get(job_id, 'job')}/ended")
        self._jobs.ended(job_id, status)
