"""The volume daemon with a /sys/block and a /dev of the lab's: `python -m tests.integration.placed_daemon CONFIG
FOLDER`, where FOLDER has by-id, sys/block and dev, as the lab's CloudStack keeps them of each running machine; a test
may put a proc beside them."""

from __future__ import annotations

import sys
from pathlib import Path

from migratekit_core.config import load_config
from migratekit_core.volumed.daemon.serve import serve
from migratekit_core.volumed.devices import Places


def main() -> None:
    """Serve until SIGTERM."""
    config, folder = map(Path, sys.argv[1:])
    proc = folder / "proc"
    places = Places(
        folder / "by-id", folder / "sys" / "block", folder / "dev", proc if proc.exists() else Path("/proc")
    )
    serve(load_config(config, None), places)


if __name__ == "__main__":
    main()
