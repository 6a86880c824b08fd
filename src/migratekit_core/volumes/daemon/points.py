"""The places between two steps of the daemon's operations (migratekit_core.points), in a folder of the daemon's own."""

from __future__ import annotations

from migratekit_core import points
from migratekit_core.ossea.client import AsyncJobs
from migratekit_core.points import Points

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
