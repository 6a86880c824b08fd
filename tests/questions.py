"""The commands that ask something: which they are, as the code says, and what each of their questions has to be like.

A question is looked at where a person does, on the screen: it is its last line, whole, while the command waits.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from migratekit_cli.main import app
from tests.unit.terminal import COMMAND, Terminal, on_terminal

SOURCE = Path(__file__).resolve().parents[1] / "src"
PACKAGE = "migratekit_cli"
ASK = f"{PACKAGE}.ui.ask"
SECONDS = 2.0
"""How long a question is looked at: a display draws itself ten times a second."""
CONFIRM, TEXT, HIDDEN = "confirm", "text", "hidden"
"""Kinds of questions, each a function of migratekit_cli.ui.ask."""
UNCHANGED = "Nothing was changed."

Site = tuple[str, str]
"""A command, and the function that asks for it: `networks`, `migratekit_cli.commands.networks._forget`."""

UNIT: frozenset[Site] = frozenset(
    {
        ("config init", "migratekit_cli.commands.config.init._answers"),
        ("config init", "migratekit_cli.commands.config.init._secrets"),
        ("jobs prune", "migratekit_cli.commands.jobs.prune.command"),
        ("networks", "migratekit_cli.commands.networks._forget"),
        ("tunnel pki revoke", "migratekit_cli.commands.tunnel.pki.revoke.command"),
        ("tunnel pki rotate", "migratekit_cli.commands.tunnel.pki.rotate.command"),
        ("tunnel server install", "migratekit_cli.commands.tunnel.server.install.command"),
        ("volumes daemon token rotate", "migratekit_cli.commands.volumes.daemon.token.rotate.command"),
        ("wave cancel", "migratekit_cli.commands.wave.cancel.command"),
        ("wave cutover", "migratekit_cli.commands.wave.cutover._gate"),
        ("wave cutover", "migratekit_cli.commands.wave.cutover.command"),
    }
)
"""Looked at in tests/unit/test_questions.py."""
LAB: frozenset[Site] = frozenset(
    {
        ("failover", "migratekit_cli.commands.failover.command"),
        ("networks", "migratekit_cli.commands.networks._save"),
        ("networks", "migratekit_cli.ui.wizard._answer"),
        ("rollback", "migratekit_cli.commands.rollback.command"),
        *((f"volumes {verb}", "migratekit_cli.commands.volumes.change.carry_out")
          for verb in ("attach", "detach", "export", "unexport")),
        ("volumes delete", "migratekit_cli.commands.volumes.delete.command"),
    }
)  # fmt: skip
"""Looked at in tests/integration/test_questions.py."""


@dataclass(frozen=True)
class Asked:
    """One question of a command, and how to get there."""

    arguments: tuple[str | Path, ...]
    line: str
    """The question, as the last line of the screen."""
    state: Callable[[], object]
    """Reads what the command would change."""
    kind: str = CONFIRM
    before: tuple[tuple[str, str], ...] = ()
    """Questions that come first, as lines of the screen, and what is typed there."""
    unchanged: str = UNCHANGED
    """What a no, and Ctrl-C, are answered with."""
    environ: Mapping[str, str] = field(default_factory=dict)


def check(asked: Asked) -> None:
    """Check that a question is to be seen while it waits, and that neither a no nor Ctrl-C changes anything."""
    before = asked.state()
    with waiting(asked) as seen:
        seen.stays_last(asked.line, SECONDS)
        seen.type("n")
        typed = asked.line if asked.kind == HIDDEN else f"{asked.line} n"
        seen.until_last(typed)
        seen.stays_last(typed, 0.5)
        if asked.kind == CONFIRM:
            seen.type("\r")
            assert seen.end() == 1, seen.screen
            assert seen.ends_with(asked.unchanged), seen.screen
            assert asked.state() == before
    with waiting(asked) as seen:
        seen.type("\x03")
        assert seen.end() == 130, seen.screen
        assert asked.unchanged in seen.screen, seen.screen
    assert asked.state() == before


@contextmanager
def waiting(asked: Asked) -> Iterator[Terminal]:
    """Yield a terminal on which a command has just asked."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("MIGRATEKIT_", "XDG_"))}
    with on_terminal(COMMAND, *asked.arguments, environ={**environ, **asked.environ}) as seen:
        for line, keys in asked.before:
            seen.until_last(line)
            seen.type(keys)
        seen.until_last(asked.line)
        yield seen


def sites() -> set[Site]:
    """Return every command that asks with the function that does, as the code of the command line says."""
    graph = _references()
    found = set()
    for path, callback in _commands(typer.main.get_command(app), ()):
        name = f"{callback.__module__}.{callback.__qualname__}"
        assert name in graph, f"{name} is no function at the top of its module"
        seen, left = set(), [name]
        while left:
            function = left.pop()
            if function not in seen:
                seen.add(function)
                left += [each for each in graph[function] if each in graph and not each.startswith(f"{ASK}.")]
        asking = {f"{ASK}.{kind}" for kind in (CONFIRM, TEXT, HIDDEN)}
        found |= {(" ".join(path), function) for function in seen if graph[function] & asking}
    return found


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in getattr(command, "commands", {}).items():
        yield from _commands(child, (*path, name))
    if not hasattr(command, "commands"):
        callback = command.callback
        while hasattr(callback, "__wrapped__"):
            callback = callback.__wrapped__
        yield path, callback


def _references() -> dict[str, set[str]]:
    """Return, for each function and method of the command line, the names that it uses, as far as they are ours."""
    graph: dict[str, set[str]] = {}
    for file in (SOURCE / PACKAGE).rglob("*.py"):
        module = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(file.read_text())
        known = _imported(tree) | {
            node.name: f"{module}.{node.name}" for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                graph[f"{module}.{node.name}"] = _used(node, known)
            if isinstance(node, ast.ClassDef):
                # Whoever uses the class may call each of its methods.
                graph[f"{module}.{node.name}"] = _used(node, known)
    return graph


def _imported(tree: ast.AST) -> dict[str, str]:
    """Return what each name that is imported anywhere in a module stands for."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(PACKAGE):
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return found


def _used(node: ast.AST, known: Mapping[str, str]) -> set[str]:
    found = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and each.id in known:
            found.add(known[each.id])
        if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name) and each.value.id in known:
            found.add(f"{known[each.value.id]}.{each.attr}")
    return found
