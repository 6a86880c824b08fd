"""`python -m migratekit_core.volumed.daemon --config FILE`: what `migratekit volumes daemon run` and the unit start."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from migratekit_core.common.errors import MigrateKitError
from migratekit_core.config import load_config
from migratekit_core.volumed.daemon.serve import serve


def main() -> int:
    """Serve until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="migratekit-volumed", description="The MigrateKit volume daemon")
    parser.add_argument("--config", type=Path, help="TOML configuration (default: /etc/migratekit/config.toml)")
    parser.add_argument("--profile", help="profile of the configuration")
    arguments = parser.parse_args()
    try:
        serve(load_config(arguments.config, arguments.profile))
    except MigrateKitError as error:
        sys.stderr.write(f"error: {error.what} [{error.code}]\n  why: {error.why}\n   do: {error.todo}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
