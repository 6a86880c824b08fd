"""Dask distributed, imported only where a wave runs, with the settings that all of its parts have to agree on."""

from __future__ import annotations

import warnings

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.config.fleet import Fleet


def load(fleet: Fleet) -> None:
    """Import Dask distributed and set it up. Raises PreconditionError where the extra is not installed."""
    lease, port = fleet.lease, fleet.dashboard_port
    # A dashboard's port that is taken is no trouble: it takes another one, and says which.
    warnings.filterwarnings("ignore", message="Port .* is already in use", category=UserWarning)
    try:
        import dask

        dask.config.set(
            {
                # Set before distributed is imported: it sets its loggers up then.
                "logging": {
                    "distributed": "critical",
                    "bokeh": "critical",
                    "tornado.application": "critical",
                    "asyncio": "critical",
                },
                "distributed.comm.require-encryption": None,
                "distributed.comm.tls.min-version": 1.3,
                "distributed.comm.timeouts.connect": f"{max(lease / 2, 5)}s",
                # At least 11 s: it sends ten probes, a second apart.
                "distributed.comm.timeouts.tcp": f"{max(lease / 2, 11)}s",
                "distributed.comm.retry.count": 0,
                # A machine whose workers die is counted by us, in the database.
                "distributed.scheduler.allowed-failures": 1_000_000,
                "distributed.scheduler.worker-ttl": f"{lease}s",
                "distributed.scheduler.locks.lease-timeout": f"{lease}s",
                "distributed.scheduler.locks.lease-validation-interval": f"{lease / 10}s",
                "distributed.scheduler.active-memory-manager.start": False,
                # Machines go to workers by how many they have: how long one takes says nothing of the next.
                "distributed.scheduler.default-task-durations": {},
                "distributed.scheduler.dashboard.bokeh-application.allow_websocket_origin": [
                    f"127.0.0.1:{port}",
                    f"localhost:{port}",
                ],
                "distributed.worker.profile.enabled": False,
                "distributed.worker.memory.target": False,
                "distributed.worker.memory.spill": False,
                "distributed.worker.memory.pause": False,
                "distributed.worker.memory.terminate": False,
                "distributed.worker.daemon": False,
                "distributed.admin.tick.limit": "1h",
            }
        )
        import distributed  # noqa: F401
    except ImportError as error:
        raise PreconditionError(
            "waves cannot be run",
            f"{error.name} is not installed",
            "run: pip install 'migratekit[fleet]'",
            code=ErrorCode.NOT_INSTALLED,
            facts={"library": error.name},
        ) from None
