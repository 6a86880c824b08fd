"""The volume daemon with a /sys/block and a /dev of the lab's: `python -m tests.integration.placed_daemon CONFIG
FOLDER`, where FOLDER has by-id, sys/block and dev, as the lab's CloudStack keeps them of each running machine."""

from __future__ import annotations

import sys
from pathlib import Path

from migratekit_core.config import load_config
from migratekit_core.volumed.daemon.serve import serve
from migratekit_core.volumed.devices import Places


def main() -> None:
    """Serve until SIGTERM."""
    config, folder = map(Path, sys.argv[1:])
    serve(load_config(config, None), Places(folder / "by-id", folder / "sys" / "block", folder / "dev"))


if __name__ == "__main__":
    main()
