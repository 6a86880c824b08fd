"""CloudStack's volume and snapshot commands are called in one file; operation code neither prints nor logs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[2] / "src"
STORAGE = "migratekit_core/volumed/daemon/storage.py"
BRIDGE = "migratekit_core/volumed/daemon/bridge.py"
"""The daemon's bridge to the journal: the one module that knows Python's logging."""
PERMISSIONS = "migratekit_core/services/assessment/commands.py"
"""Names what an account has to be allowed; it is a table, and calls nothing."""
REFUSALS = ["migratekit_core/adapters/cloudstack/errors.py", "migratekit_core/adapters/cloudstack/refusals.py"]
"""Say what a refusal of each command means; they call nothing either."""
QUEUE = "migratekit_core/services/replication/queue.py"
"""Names whose jobs took how long, as the daemon wrote it down."""
COMMANDS = re.compile(
    r"\b(?:(?:create|delete|destroy|recover|attach|detach|resize|list|migrate|extract|upload|update|assign)Volumes?"
    r"|(?:create|delete|list|revert|archive|copy|extract)Snapshots?|(?:create|delete|list|update)SnapshotPolic(?:y|ies)"
    r"|(?:create|delete|list|revertTo)VMSnapshot|createSnapshotFromVMSnapshot|changeOfferingForVolume"
    r"|getUploadParamsForVolume|checkVolume|importVolume|unmanageVolume)\b"
)


def documentation(tree: ast.AST) -> set[int]:
    """Return the ids of the string nodes that only document: they stand as statements of their own."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def storage_commands(source: str) -> Iterator[str]:
    """Yield each CloudStack volume or snapshot command that the source names, as a string or as an attribute."""
    tree = ast.parse(source)
    ignored = documentation(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in ignored:
            yield from COMMANDS.findall(node.value)
        elif isinstance(node, ast.Attribute):
            yield from COMMANDS.findall(node.attr)


def output(source: str) -> Iterator[str]:
    """Yield each print and each use of logging."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "pprint"):
            yield node.func.id
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] in ("logging", "syslog"))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("logging", "syslog"):
            yield str(node.module)


MODULES = sorted(path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py"))


def test_only_one_file_names_storage_commands() -> None:
    naming = [module for module in MODULES if list(storage_commands((SRC / module).read_text()))]
    assert naming == sorted([PERMISSIONS, *REFUSALS, QUEUE, STORAGE])


def test_the_table_of_permissions_calls_nothing() -> None:
    tree = ast.parse((SRC / PERMISSIONS).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tables = {"migratekit_core.adapters.readers.readers", "migratekit_core.adapters.vsphere.privilege"}
    assert imported == {"__future__", *tables}
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Import)]


@pytest.mark.parametrize("module", REFUSALS)
def test_the_table_of_refusals_calls_nothing(module: str) -> None:
    tree = ast.parse((SRC / module).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported and not imported & {
        "migratekit_core.adapters.cloudstack.client",
        "migratekit_core.adapters.cloudstack.compute",
        "cs",
    }


def test_that_file_names_those_that_a_migration_needs() -> None:
    named = set(storage_commands((SRC / STORAGE).read_text()))
    assert named >= {"createVolume", "attachVolume", "detachVolume", "deleteVolume", "listVolumes", "createSnapshot"}


@pytest.mark.parametrize(
    "violation",
    [
        "cloud.call('createVolume', size=1)",
        "cloud.cs.deleteVolume(id='x')",
        "f = cloud.listSnapshots",
        "COMMANDS = {'remove': 'deleteSnapshot'}",
        "url = f'{base}?command=revertSnapshot&id={x}'",
        "def call(command='resizeVolume'): pass",
    ],
)
def test_a_violation_is_caught(violation: str) -> None:
    assert list(storage_commands(violation))


@pytest.mark.parametrize(
    "harmless",
    ["'''Calls createVolume.'''", "x = 'attach a volume'", "vm.CreateSnapshot_Task()", "client.attach(volume)"],
)
def test_what_is_no_violation_is_not(harmless: str) -> None:
    assert not list(storage_commands(harmless))


def test_the_core_neither_prints_nor_logs() -> None:
    core = [module for module in MODULES if module.startswith("migratekit_core/") and module != BRIDGE]
    assert core
    assert {module: found for module in core if (found := list(output((SRC / module).read_text())))} == {}


@pytest.mark.parametrize("violation", ["print('x')", "import logging.config", "from logging import info"])
def test_output_is_caught(violation: str) -> None:
    assert list(output(violation))
