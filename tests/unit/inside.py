"""The command within this process: what it writes and ends with, without the half second that a start takes."""

from __future__ import annotations

import subprocess

from typer.testing import CliRunner

from migratekit_cli.main import app


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command, piped and without a terminal, and return what a process of its own would have."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)
