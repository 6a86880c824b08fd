"""Kinds of tunnel: the registry and the schema agree, and nobody beside them asks which kind a tunnel is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from migratekit_core.adapters.tunnel import kinds
from migratekit_core.config.schema import TUNNEL_NEEDS, Tunnel

SOURCES = Path(__file__).parents[2] / "src"
REGISTRY = Path("migratekit_core/adapters/tunnel/kinds/__init__.py")
CONFIG = Path("migratekit_core/config")
"""What the schema asks of each kind is a table there: names may be read, and not compared."""


def _tunnels(tree: ast.AST) -> set[str]:
    """Return the names of variables that hold a tunnel's settings."""
    found = {"tunnel"}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            name = node.arg if isinstance(node, ast.arg) else getattr(node.target, "id", "")
            if any(getattr(part, "id", "") == "Tunnel" for part in ast.walk(node.annotation)):
                found.add(name)
        if isinstance(node, ast.Assign) and getattr(node.value, "attr", "") == "tunnel":
            found |= {getattr(target, "id", "") for target in node.targets}
        if isinstance(node, ast.ClassDef) and node.name == "Tunnel":
            found.add("self")
    return found - {""}


def _reads(tree: ast.AST, tunnels: set[str]) -> Iterator[ast.Attribute]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "kind":
            held = node.value
            if getattr(held, "id", "") in tunnels or getattr(held, "attr", "") == "tunnel":
                yield node


def violations(path: Path, source: str) -> list[int]:
    """Return the lines that look which kind a tunnel is; `path` is below src/."""
    if path == REGISTRY:
        return []
    tree = ast.parse(source)
    tunnels = _tunnels(tree)
    if CONFIG not in path.parents:
        return [node.lineno for node in _reads(tree, tunnels)]
    deciding = (node for node in ast.walk(tree) if isinstance(node, ast.Compare | ast.Match))
    return [node.lineno for place in deciding for node in _reads(place, tunnels)]


def test_only_the_registry_asks_which_kind_a_tunnel_is() -> None:
    found = [
        f"{path}:{line}"
        for path in sorted(SOURCES.rglob("*.py"))
        for line in violations(path.relative_to(SOURCES), path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("services", 'if config.tunnel.kind == "tls":\n    pass'),
        ("services", 'def f(other: Tunnel) -> bool:\n    return other.kind != "none"'),
        ("services", 'here = config.tunnel\nhow = {"tls": 1}[here.kind]'),
        ("config", 'match oma.tunnel.kind:\n    case "ssh":\n        pass'),
        ("config", 'class Tunnel:\n    def f(self):\n        return self.kind in ("tls", "ssh")'),
    ],
)
def test_a_planted_comparison_is_found(folder: str, source: str) -> None:
    assert violations(Path("migratekit_core") / folder / "planted.py", source)


def test_the_schema_and_the_registry_know_the_same_kinds() -> None:
    named = set(get_args(Tunnel.model_fields["kind"].annotation))
    assert named == set(TUNNEL_NEEDS) == set(kinds.KINDS)
    for name, kind in kinds.KINDS.items():
        tunnel = Tunnel.model_construct(kind=name)
        assert kinds.of(tunnel) is kind
        assert tunnel.leads_away is (kind.local_end is not None), name


def test_without_a_tunnel_there_is_nothing_to_bring_up_and_nothing_in_the_way() -> None:
    from migratekit_core.adapters.tunnel import local
    from migratekit_core.adapters.tunnel.probe import probe

    assert not local.up(Tunnel()).up
    assert probe(Tunnel()).problem is None
    assert kinds.of(Tunnel()).socket(Tunnel(), "db") is None
    assert kinds.of(Tunnel()).gate(Tunnel(), "x") is None
