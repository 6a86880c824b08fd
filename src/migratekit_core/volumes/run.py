"""Starts the daemon for the command line, which must not know its insides."""

from __future__ import annotations

from migratekit_core.config import Config


def serve(config: Config) -> None:
    """Run the volume daemon until SIGTERM; see `migratekit_core.volumes.daemon.serve`."""
    from migratekit_core.volumes.daemon.serve import serve as run

    run(config)
