"""Every command explains itself, with the options that scripts rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from migratekit_cli.main import app

OUTPUT, DRY_RUN, YES = "--output", "--dry-run", "--yes"
COMMANDS: dict[str, list[str]] = {
    "": ["--config", "--profile", "--debug", "--version", "discover", "replicate", "test-failover", "failover",
         "cleanup", "jobs", "volumes", "tunnel", "db"],
    "discover": [OUTPUT],
    "replicate": ["VM", DRY_RUN, OUTPUT],
    "test-failover": ["VM", DRY_RUN, OUTPUT],
    "failover": ["VM", "--power-off", DRY_RUN, YES, OUTPUT],
    "cleanup": ["VM", DRY_RUN, OUTPUT],
    "jobs": ["list", "show"],
    "jobs list": ["--vm", "--status", "--limit", "--nested", OUTPUT],
    "jobs show": ["JOB", OUTPUT],
    "volumes": ["list", "operations", "daemon"],
    "volumes list": [OUTPUT],
    "volumes operations": ["--limit", OUTPUT],
    "volumes daemon": ["run"],
    "volumes daemon run": [],
    "tunnel": ["up", "down", "status", "pki", "server"],
    "tunnel up": [OUTPUT],
    "tunnel down": [OUTPUT],
    "tunnel status": [OUTPUT],
    "tunnel pki": ["init"],
    "tunnel pki init": [],
    "tunnel server": ["render"],
    "tunnel server render": ["--cert", "--ca", "--listen", "--volumes", "--db", "--nbd"],
    "db": ["check", "upgrade"],
    "db check": [OUTPUT],
    "db upgrade": [OUTPUT],
}  # fmt: skip


def walk(command: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, f"{path} {name}".strip())


TREE = dict(walk(typer.main.get_command(app)))


def test_every_command_is_checked_here() -> None:
    assert set(TREE) == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_what_a_command_takes(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"})
    assert done.exit_code == 0
    for name in [*COMMANDS[command], "--help"]:
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", done.output), name
    summary = (TREE[command].help or "").split(".")[0].split("\n")[0]
    assert summary
    assert summary in " ".join(done.output.split())
    assert "\x1b" not in done.output
