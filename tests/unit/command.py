"""Runs the command line as a script does: piped, without a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COMMAND = Path(sys.executable).parent / "migratekit"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command; `environ` is added to this process's environment."""
    return subprocess.run(
        [COMMAND, *arguments],
        env={**os.environ, **environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
