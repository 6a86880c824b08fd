"""Every command explains itself, with the options that scripts rely on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from migratekit_cli.main import app
from tests.commands import tree

OUTPUT, DRY_RUN, YES = "--output", "--dry-run", "--yes"
COMMANDS: dict[str, list[str]] = {
    "": ["--config", "--profile", "--debug", "--version", "discover", "assess", "replicate", "verify", "test-failover",
         "failover", "rollback", "cleanup", "networks", "wave", "fleet", "--vcenter", "--oma", "jobs",
         "report", "volumes", "tunnel", "db", "config",
         "doctor"],
    "discover": ["--name", "--folder", "--cluster", "--tag", "--power", "--guest", "--tags", OUTPUT],
    "assess": ["VM", "--all", "--target", OUTPUT, "--fail-on", "--rules", "--offline", "--bandwidth",
               "--measure-changes", "--history", "--report", "--baseline", "--write-baseline",
               "--reason", "--expires"],
    "networks": ["VM", "--map", "--replace", "--by-name", "--wizard", "--set", "--unset", "--export", "--check",
                 DRY_RUN, YES, OUTPUT],
    "replicate": ["VM", "--all-due", "--quiet", "--compare", "--bandwidth", "--disk-bandwidth", DRY_RUN, OUTPUT],
    "verify": ["VM", DRY_RUN, OUTPUT],
    "test-failover": ["VM", DRY_RUN, OUTPUT],
    "failover": ["VM", "--power-off", "--verify", "--at", "--window", "--max-downtime", "--hold", "--release",
                 "--cancel", DRY_RUN, YES, OUTPUT],
    "rollback": ["VM", DRY_RUN, YES, OUTPUT],
    "cleanup": ["VM", "--orphans", DRY_RUN, YES, OUTPUT],
    "doctor": ["--remote", "--topic", "--problems", "--strict", "--timeout", OUTPUT],
    "wave": ["plan", "run", "cutover", "list", "show", "status", "pause", "resume", "cancel", "retry", "report"],
    "wave plan": ["INVENTORY", "--rules", "--out", "--force", "--name", "--from", "--assessment", "--baseline",
                  "--bandwidth", "--history", DRY_RUN, OUTPUT],
    "wave run": ["WAVE", "--again", "--replace", "--detach", DRY_RUN, OUTPUT],
    "wave cutover": ["WAVE", "--abort-below", "--rehearse", "--detach", DRY_RUN, YES, OUTPUT],
    "wave list": [OUTPUT],
    "wave show": ["WAVE", OUTPUT],
    "wave status": ["WAVE", "--follow", "--interval", OUTPUT],
    "wave pause": ["WAVE", DRY_RUN, OUTPUT],
    "wave resume": ["WAVE", DRY_RUN, OUTPUT],
    "wave cancel": ["WAVE", "--vm", DRY_RUN, YES, OUTPUT],
    "wave retry": ["WAVE", "--vm", DRY_RUN, OUTPUT],
    "wave report": ["WAVE", "--html", OUTPUT],
    "jobs": ["list", "show", "set", "watch", "tail", "cancel", "export", "prune"],
    "jobs list": ["--vm", "--type", "--status", "--since", "--limit", "--nested", OUTPUT],
    "report": ["JOB", "--html", OUTPUT],
    "jobs watch": ["JOB", "--vm", "--interval", "--once", OUTPUT],
    "jobs tail": ["JOB", "--vm", "--lines", "--follow", OUTPUT],
    "jobs cancel": ["JOB", "--reason", "--gone", "--wait", DRY_RUN, OUTPUT],
    "jobs export": ["JOB", "--vm", "--type", "--status", "--since", "--file", "--otel"],
    "jobs prune": ["--older-than", DRY_RUN, YES, OUTPUT],
    "jobs show": ["JOB", OUTPUT],
    "jobs set": ["JOB", "--bandwidth", "--disk-bandwidth", OUTPUT],
    "volumes": ["list", "show", "attach", "detach", "export", "unexport", "delete", "operations", "drift", "daemon"],
    "volumes list": [OUTPUT],
    "volumes show": ["VOLUME", OUTPUT],
    "volumes attach": ["VOLUME", "--vm", "--device", DRY_RUN, YES, OUTPUT],
    "volumes detach": ["VOLUME", DRY_RUN, YES, OUTPUT],
    "volumes delete": ["VOLUME", DRY_RUN, YES, "--yes-delete", OUTPUT],
    "volumes export": ["VOLUME", "--vm-name", "--disk", DRY_RUN, YES, OUTPUT],
    "volumes unexport": ["VOLUME", DRY_RUN, YES, OUTPUT],
    "volumes operations": ["OPERATION", "--limit", OUTPUT],
    "volumes drift": [OUTPUT],
    "volumes daemon": ["run", "exporter", "unit", "filters", "token"],
    "volumes daemon filters": ["--own", DRY_RUN, OUTPUT],
    "volumes daemon run": [],
    "volumes daemon exporter": [],
    "volumes daemon unit": ["--exporter"],
    "volumes daemon token": ["rotate"],
    "volumes daemon token rotate": ["--overlap", DRY_RUN, YES, OUTPUT],
    "tunnel": ["up", "down", "status", "test", "pki", "server"],
    "tunnel up": [OUTPUT],
    "tunnel down": [OUTPUT],
    "tunnel status": [OUTPUT],
    "tunnel test": ["--seconds", OUTPUT],
    "tunnel pki": ["init", "issue", "rotate", "revoke", "show"],
    "tunnel pki init": [],
    "tunnel pki issue": ["NAME", "--server", "--also", "--fleet", "--folder", OUTPUT],
    "fleet": ["scheduler", "worker", "status"],
    "fleet scheduler": [],
    "fleet worker": ["--slots"],
    "fleet status": [OUTPUT],
    "tunnel pki rotate": ["NAME", "--finish", "--folder", DRY_RUN, YES, OUTPUT],
    "tunnel pki revoke": ["NAME", "--old", "--folder", DRY_RUN, YES, OUTPUT],
    "tunnel pki show": ["--folder", OUTPUT],
    "tunnel server": ["render", "install", "check", "watch", "authorize", "facts"],
    "tunnel server watch": ["--cert", "--ca", "--crl", "--admin"],
    "tunnel server render": ["--cert", "--ca", "--crl", "--listen", "--volumes", "--db", "--nbd"],
    "tunnel server install": ["--cert", "--ca", "--crl", "--listen", "--volumes", "--db", "--nbd", "--user", DRY_RUN,
                              YES, OUTPUT],
    "tunnel server check": [OUTPUT],
    "tunnel server authorize": ["KEY.pub", "--migratekit"],
    "tunnel server facts": [OUTPUT],
    "db": ["check", "upgrade"],
    "db check": [OUTPUT],
    "db upgrade": [OUTPUT],
    "config": ["init", "show", "validate"],
    "config init": ["--role", "--vcenter-host", "--vcenter-user", "--vcenter-ca", "--api-url", "--zone",
                    "--service-offering", "--disk-offering", "--template", "--oma-vm", "--test-network", "--oma-host",
                    "--database", "--set", "--secret", "--generate", "--force", DRY_RUN, OUTPUT],
    "config show": ["--changed", OUTPUT],
    "config validate": ["--run-commands", OUTPUT],
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


def test_nothing_of_a_help_is_taken_for_markup() -> None:
    """`[vcenter]` in a help text is a style to rich, and vanishes."""
    for command in tree().walk():
        for text in (command.text, *(part.text for part in (*command.arguments, *command.options))):
            assert Text.from_markup(text).plain == text, command.name
