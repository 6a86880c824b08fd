"""The rules that the build enforces hold on the tree, and a violation of each one fails."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from copy import deepcopy
from pathlib import Path

import grimp
import pytest
from grimp import ImportGraph
from importlinter.api import read_configuration
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.contracts.independence import IndependenceContract
from importlinter.contracts.layers import LayersContract
from importlinter.contracts.protected import ProtectedContract

from migratekit_core.adapters.readers.readers import READERS
from migratekit_core.adapters.tunnel.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
SRC = ROOT / "src"
BIN = Path(sys.executable).parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

OPTIONS = read_configuration(str(ROOT / "pyproject.toml"))
CONTRACTS = {contract["name"]: contract for contract in OPTIONS["contracts_options"]}
TYPES = {
    "forbidden": ForbiddenContract,
    "independence": IndependenceContract,
    "layers": LayersContract,
    "protected": ProtectedContract,
}

CORE = "migratekit_core"
VIOLATIONS = {
    "The CLI renders: it never touches an SDK or the database": [
        ("migratekit_cli.session", module) for module in ("cs", "pyVmomi", "nbd", "sqlmodel", "sqlalchemy")
    ],
    "The cs library stays in adapters/cloudstack/, where its quirks are handled once": [
        (f"{CORE}.volumed.daemon.actions", "cs"),
        (f"{CORE}.services.failover.live", "cs"),
        (f"{CORE}.adapters.cloudstack.compute", "cs"),
    ],
    "Volumes are reached through volumed.client; the daemon's insides are its own": [
        (f"{CORE}.services.failover.live", f"{CORE}.volumed.daemon.storage"),
        ("migratekit_cli.session", f"{CORE}.volumed.daemon.storage"),
    ],
    "The core does not know the command line": [
        (f"{CORE}.context", "typer"),
        (f"{CORE}.services.replication.sync", "migratekit_cli.ui.render"),
    ],
    "The layers of the core": [
        (f"{CORE}.context", f"{CORE}.services.replication.sync"),
        (f"{CORE}.volumed.daemon.serve", f"{CORE}.context"),
        (f"{CORE}.engine.process", f"{CORE}.volumed.client"),
        (f"{CORE}.adapters.readers.reader", f"{CORE}.engine.job"),
        (f"{CORE}.joblog.prune", f"{CORE}.adapters.tunnel.local"),
        (f"{CORE}.db.engine", f"{CORE}.joblog.tracker"),
        (f"{CORE}.config.profiles", f"{CORE}.db.engine"),
        (f"{CORE}.common.progress", f"{CORE}.config.schema"),
        (f"{CORE}.common.progress", f"{CORE}.services.waves.store"),
    ],
    "The services, those of the same layer apart from each other": [
        (f"{CORE}.services.waves.store", f"{CORE}.services.fleet.driver"),
        (f"{CORE}.services.waves.store", f"{CORE}.services.failover.record"),
        (f"{CORE}.services.guests.undo", f"{CORE}.services.failover.record"),
        (f"{CORE}.services.assessment.site", f"{CORE}.services.guests.tool"),
        (f"{CORE}.services.networks.collect", f"{CORE}.services.assessment.site"),
        (f"{CORE}.services.replication.sync", f"{CORE}.services.assessment.history"),
        (f"{CORE}.services.schedule.run", f"{CORE}.services.reports.collect"),
    ],
    "The adapters know vSphere's words, and not each other": [
        (f"{CORE}.adapters.vsphere.power", f"{CORE}.adapters.readers.reader"),
        (f"{CORE}.adapters.cloudstack.compute", f"{CORE}.adapters.tunnel.local"),
        (f"{CORE}.adapters.readers.reader", f"{CORE}.adapters.cloudstack.compute"),
    ],
    "The tunnel knows no other adapter": [(f"{CORE}.adapters.tunnel.local", f"{CORE}.adapters.vsphere.client")],
}
CASES = [(contract, *violation) for contract, violations in VIOLATIONS.items() for violation in violations]


@pytest.fixture(scope="module")
def tree() -> ImportGraph:
    return grimp.build_graph("migratekit_cli", CORE, include_external_packages=True)


def kept(name: str, graph: ImportGraph) -> bool:
    """Return whether the imports keep the contract of this name."""
    options = CONTRACTS[name]
    contract = TYPES[options["type"]](name=name, session_options=OPTIONS["session_options"], contract_options=options)
    # Checking takes the imports that a contract leaves out away from the graph.
    return bool(contract.check(deepcopy(graph), verbose=False).kept)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_the_tree_keeps_every_contract(tree: ImportGraph, contract: str) -> None:
    assert kept(contract, tree)
    assert contract in VIOLATIONS, "without a violation nobody knows that it can fail"


@pytest.mark.parametrize(("contract", "module", "imported"), CASES)
def test_a_violation_breaks_its_contract(tree: ImportGraph, contract: str, module: str, imported: str) -> None:
    assert module in tree.modules
    assert imported in tree.modules
    graph = deepcopy(tree)
    graph.add_import(importer=module, imported=imported, line_number=1, line_contents=f"import {imported}")
    assert not kept(contract, graph)


@pytest.mark.parametrize("package", [CORE, f"{CORE}.services", f"{CORE}.adapters"])
def test_a_new_package_is_given_its_place(tree: ImportGraph, package: str) -> None:
    graph = deepcopy(tree)
    graph.add_module(f"{package}.another")
    name = next(name for name, each in CONTRACTS.items() if each.get("containers") == [package])
    assert not kept(name, graph)


REGISTRIES = {
    f"{CORE}.adapters.readers.readers": {reader.open.__module__ for reader in READERS.values()},
    f"{CORE}.adapters.tunnel.kinds": {kind.probe.__module__ for kind in KINDS.values()},
}
"""Modules that a registry knows, and nobody else."""


def known_elsewhere(graph: ImportGraph) -> list[str]:
    return [
        f"{importer} -> {module}"
        for registry, modules in REGISTRIES.items()
        for module in sorted(modules)
        for importer in sorted(graph.find_modules_that_directly_import(module) - {registry})
    ]


def test_a_reader_and_a_kind_of_tunnel_are_known_to_their_registries_alone(tree: ImportGraph) -> None:
    assert all(modules for modules in REGISTRIES.values())
    assert known_elsewhere(tree) == []
    graph = deepcopy(tree)
    for importer, imported in [
        (f"{CORE}.services.doctor.checks.host", f"{CORE}.adapters.readers.vddk"),
        (f"{CORE}.adapters.tunnel.kinds.ssh", f"{CORE}.adapters.tunnel.kinds.tls"),
    ]:
        graph.add_import(importer=importer, imported=imported, line_number=1, line_contents=f"import {imported}")
        assert f"{importer} -> {imported}" in known_elsewhere(graph)


def test_an_upward_import_fails_the_build(tmp_path: Path) -> None:
    # Lazy, and for types only: both count.
    shutil.copytree(SRC, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file, statement in [
        ("joblog/tracker.py", "def later():\n    import migratekit_core.services.fleet.driver"),
        ("common/units.py", "if False:\n    from migratekit_core.engine.job import Job"),
    ]:
        with (tmp_path / "src" / CORE / file).open("a") as source:
            source.write(f"\n\n{statement}\n")
    done = subprocess.run(
        [BIN / "lint-imports", "--no-cache"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src"), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "migratekit_core.joblog.tracker -> migratekit_core.services.fleet.driver" in done.stdout
    assert "migratekit_core.common.units -> migratekit_core.engine.job" in done.stdout
    assert "The layers of the core BROKEN" in done.stdout


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
    # `_stub` is pyVmomi's own name for a connection, SoapStubAdapter its class, outerStub an argument.
    words = re.compile(r"vcsim|simulat|fake|mock|(?<!\._)(?<!Soap)(?<!outer)stub", re.IGNORECASE)
    assert words.search("class FakeCloud")
    found = [
        (path.relative_to(SRC).as_posix(), match.group())
        for path in SRC.rglob("*.py")
        for match in words.finditer(path.read_text())
    ]
    assert found == []
