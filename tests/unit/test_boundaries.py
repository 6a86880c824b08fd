"""The rules that the build enforces hold on the tree, and a violation of each one fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

VIOLATIONS = {
    "The CLI renders: it never touches an SDK or the database": [
        ("migratekit_cli/commands/jobs.py", f"import {module}")
        for module in ("cs", "pyVmomi", "nbd", "sqlmodel", "sqlalchemy")
    ],
    "The cs library stays in adapters/cloudstack/, where its quirks are handled once": [
        ("migratekit_core/volumed/daemon/actions.py", "import cs"),
        ("migratekit_core/services/failover/live.py", "from cs import CloudStack"),
        ("migratekit_core/adapters/cloudstack/compute.py", "import cs"),
    ],
    "Volumes are reached through volumed.client; the daemon's insides are its own": [
        ("migratekit_core/services/failover/live.py", "from migratekit_core.volumed.daemon import storage"),
        ("migratekit_cli/commands/volumes.py", "import migratekit_core.volumed.daemon.storage"),
    ],
    "The core does not know the command line": [
        ("migratekit_core/context.py", "import typer"),
        ("migratekit_core/services/replication/sync.py", "import migratekit_cli.render"),
    ],
}
CASES = [(contract, *violation) for contract, violations in VIOLATIONS.items() for violation in violations]


def contracts_of(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the import contracts of the tree in `folder`."""
    return subprocess.run(
        [BIN / "lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src"), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    shutil.copytree(SRC, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_the_tree_keeps_every_contract(copy: Path) -> None:
    done = contracts_of(copy)
    assert done.returncode == 0, done.stdout
    for contract in VIOLATIONS:
        assert re.search(rf"^{re.escape(contract)} KEPT", done.stdout, re.MULTILINE), done.stdout


def test_every_contract_has_a_violation_here() -> None:
    assert set(VIOLATIONS) == {contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]}


@pytest.mark.parametrize(("contract", "file", "statement"), CASES, ids=[f"{file}: {what}" for _, file, what in CASES])
def test_a_violation_breaks_its_contract(copy: Path, contract: str, file: str, statement: str) -> None:
    path = copy / "src" / file
    before = path.read_text()
    try:
        path.write_text(f"{before}\n\n{statement}\n")
        done = contracts_of(copy)
    finally:
        path.write_text(before)
    assert done.returncode == 1
    assert re.search(rf"^{re.escape(contract)} BROKEN", done.stdout, re.MULTILINE), done.stdout


def ruff(file: str, text: str) -> str:
    """Return what the project's ruff says of a file with this name and text."""
    return subprocess.run(
        [BIN / "ruff", "check", "--config", ROOT / "pyproject.toml", "--no-cache", "--output-format", "concise",
         "--stdin-filename", ROOT / file, "-"],
        input=text, capture_output=True, text=True, cwd=ROOT, check=False,
    ).stdout  # fmt: skip


@pytest.mark.parametrize(
    "statement", ["import logging", "import cs", "from cs import CloudStack", "from logging import getLogger"]
)
@pytest.mark.parametrize(
    "file", ["services/failover/live.py", "volumed/daemon/storage.py", "services/replication/sync.py"]
)
def test_ruff_refuses_banned_modules_in_operation_code(file: str, statement: str) -> None:
    assert "TID251" in ruff(f"src/migratekit_core/{file}", f"{statement}\n")
    assert "TID251" not in ruff(f"src/migratekit_core/{file}", "import json\n")


def test_ruff_refuses_print_in_operation_code() -> None:
    assert "T201" in ruff("src/migratekit_core/services/failover/live.py", "print('x')\n")


def test_the_cs_library_has_one_place() -> None:
    assert "TID251" not in ruff("src/migratekit_core/adapters/cloudstack/client.py", "import cs\n")
    importing = [
        path.relative_to(SRC).as_posix()
        for path in SRC.rglob("*.py")
        if re.search(r"^\s*(import cs\b|from cs\b)", path.read_text(), re.MULTILINE)
    ]
    assert importing == ["migratekit_core/adapters/cloudstack/client.py"]


def test_no_module_is_a_copy_under_a_versioned_name() -> None:
    versioned = re.compile(r"_(v\d+|old|new|copy|orig|backup|bak|legacy|final|\d+)$|\.(bak|orig)$", re.IGNORECASE)
    assert versioned.search("copier_v2")
    assert versioned.search("plan_old")
    paths = [path for path in SRC.rglob("*") if "__pycache__" not in path.parts]
    assert [path for path in paths if versioned.search(path.stem) or versioned.search(path.name)] == []


def test_the_version_is_in_one_file() -> None:
    version = (ROOT / "VERSION.txt").read_text().strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", version)
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "VERSION.txt"
    for path in SRC.rglob("*.py"):
        text = path.read_text()
        assert "__version__" not in text, path
        assert not re.search(rf"(?<![\d.]){re.escape(version)}(?![\d.])", text), path


def test_the_product_holds_no_simulation() -> None:
    # `_stub` is pyVmomi's own name for a connection.
    words = re.compile(r"vcsim|simulat|fake|mock|(?<!\._)stub", re.IGNORECASE)
    assert words.search("class FakeCloud")
    found = [
        (path.relative_to(SRC).as_posix(), match.group())
        for path in SRC.rglob("*.py")
        for match in words.finditer(path.read_text())
    ]
    assert found == []
