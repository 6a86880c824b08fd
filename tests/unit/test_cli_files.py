"""The commands: a folder for each group, a file for each command, and no command loads another one."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import Command, tree

FOLDER = Path(__file__).resolve().parents[2] / "src" / "migratekit_cli" / "commands"
LOADED = """
import json, sys
sys.argv = ["migratekit", *sys.argv[1:]]
from migratekit_cli.main import main
try:
    main()
except SystemExit:
    pass
print(json.dumps([name for name in sys.modules if hasattr(sys.modules[name], "command")]), file=sys.stderr)
"""


def defined(file: Path, name: str) -> bool:
    """Return whether a file has a function or a variable of this name at its top."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return True
        if isinstance(node, ast.Assign) and any(isinstance(one, ast.Name) and one.id == name for one in node.targets):
            return True
    return False


def files(folder: Path) -> set[str]:
    """Return the names of the commands and groups that the files of a folder define."""
    commands = {path.stem for path in folder.glob("*.py") if defined(path, "command")}
    return commands | {path.parent.name for path in folder.glob("*/__init__.py") if defined(path, "app")}


def registered(group: Command) -> set[str]:
    return {child.path[-1].replace("-", "_") for child in group.children}


GROUPS = [each for each in tree().walk() if each.children]


@pytest.mark.parametrize("group", GROUPS, ids=[each.name for each in GROUPS])
def test_each_command_of_a_group_is_a_file_and_each_file_is_reached(group: Command) -> None:
    assert files(FOLDER.joinpath(*group.path)) == registered(group)


def test_a_file_that_nobody_registered_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "shared.py").write_text("def told() -> None: ...\n")
    assert files(tmp_path) == set()
    (tmp_path / "lost.py").write_text("@reported\ndef command() -> None: ...\n")
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "__init__.py").write_text("app = group(__name__, '', 'list')\n")
    assert files(tmp_path) == {"lost", "group"}


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ("jobs list --help", ["jobs.list"]),
        ("volumes daemon token rotate --help", ["volumes.daemon.token.rotate"]),
        ("replicate --help", ["replicate"]),
        ("--version", []),
    ],
)
def test_a_command_loads_no_other_command(arguments: str, wanted: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments.split()], capture_output=True, text=True, check=True
    )
    found = [name for name in json.loads(done.stderr.splitlines()[-1]) if name.startswith("migratekit_cli.")]
    assert found == [f"migratekit_cli.commands.{name}" for name in wanted]
