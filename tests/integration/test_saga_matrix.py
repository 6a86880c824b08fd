"""Failover, rehearsal, rollback and cleanup, killed at the places where it hurts most: see saga_matrix.py.

With SAGA_MATRIX=full at every place, followed by everything that an operator may run then. Each outcome goes to
.bench/saga-matrix.json (or SAGA_MATRIX_FILE) as it comes; a second start runs what is not there yet, and what failed.
SAGA_ONLY=live chooses scenarios, SAGA_LANES how many cells go on at once; no cell begins while SAGA_PAUSE_FILE exists.
"""

from __future__ import annotations

import ast
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.saga_matrix import Matrix, Results, code
from tests.lab.lab import ROOT

SAGA = ROOT / "src" / "migratekit_core" / "services" / "failover"
FULL = os.environ.get("SAGA_MATRIX") == "full"
ONLY = os.environ.get("SAGA_ONLY", "").split()
FILE = Path(os.environ.get("SAGA_MATRIX_FILE") or ROOT / ".bench" / "saga-matrix.json")
LANES = int(os.environ.get("SAGA_LANES") or (4 if FULL else 2))
SECONDS = 0 if FULL else 900
"""That a test may take; 0 is no limit, for a matrix that is paused takes as long as that."""
PAUSE = os.environ.get("SAGA_PAUSE_FILE")
KINDS = {"failover", "replication", "verify", "test-failover", "rollback", "cleanup", "cleanup-orphans"}
"""Kinds of jobs that the sagas run."""
SAMPLE = [
    ("live", "failover/shutdown-source/ShutdownGuest/answered", "rollback"),
    ("live", "replication/remove-snapshot/RemoveSnapshot/answered", "failover"),
    ("live", "failover/move-volumes/daemon-post-detach/answered", "cleanup"),
    # The machine exists, and nobody has noted its id.
    ("live", "failover/deploy/deployVirtualMachine/answered", "failover"),
    ("live", "failover/deploy/deployVirtualMachine/answered", "rollback"),
    ("live", "failover/template-root/daemon-post-detach/answered", "failover"),
    ("live", "failover/try-swap/daemon-post-volumes/answered", "rollback"),
    ("live", "failover/move-volumes/daemon-post-attach/answered", "rollback"),
    ("live", "failover/start/startVirtualMachine/answered", "rollback"),
    ("cancelled", "rollback/take-volumes-off/completed", "failover"),
    ("left", "failover/take-over-machine/completed", "failover"),
    ("rollback", "rollback/stop-machine/stopVirtualMachine/answered", "rollback"),
    ("rollback", "rollback/destroy-machine/destroyVirtualMachine/asking", "rollback"),
    ("detached", "failover/attach-volumes/daemon-post-attach/answered", "failover"),
    ("test", "test-failover/deploy/deployVirtualMachine/answered", "cleanup"),
    ("test", "test-failover/clone-volumes/daemon-post-volume/answered", "test-failover"),
    ("cleanup", "cleanup/delete-volumes/daemon-delete-volumes/answered", "cleanup"),
    # Taken, and nobody has noted it: the next run deletes it and needs one of its own.
    ("convert", "failover/protect-replica/daemon-post-snapshot/answered", "failover"),
    ("convert", "failover/convert-guest/virt-v2v-in-place/answered", "failover"),
    # The replica's own export, which is not the rehearsal's to delete.
    ("convert-test", "test-failover/inspect-guest/daemon-post-export/answered", "cleanup"),
    ("convert-test", "test-failover/detach-replica/daemon-post-detach/answered", "test-failover"),
    ("convert-fails", "rollback/put-back-replica/daemon-post-volume/answered", "rollback"),
    ("convert-kept", "cleanup/delete-conversion-snapshots/daemon-delete-snapshots/answered", "cleanup"),
]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    """The labs of all lanes, which have passed every place once."""
    if FULL:
        # In the background, too, it is to stop with everything that it has started.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
    results = Results(FILE if FULL else None, code())
    made = Matrix(tmp_path_factory.mktemp("saga"), LANES, results, lambda: PAUSE is not None and Path(PAUSE).exists())
    try:
        made.collect()
        yield made
        made.table()
    finally:
        made.close()


def named_in_code() -> tuple[set[str], set[str]]:
    """Return the names of steps, and the kinds of jobs, that stand in the sagas."""
    found: dict[str, set[str]] = {"step": set(), "job": set()}
    for path in SAGA.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in found:
                (name, *_) = node.args or [None]
                if isinstance(name, ast.Constant):
                    found[node.func.attr].add(str(name.value))
                elif isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
                    found[node.func.attr].add(str(name.values[0].value))
    return found["step"], found["job"]


@pytest.mark.timeout(SECONDS)
def test_every_step_of_every_saga_is_in_the_matrix(matrix: Matrix) -> None:
    steps, kinds = named_in_code()
    assert kinds == KINDS, "a job without a scenario in saga_matrix.py"
    met = {place.split("/")[1] for places in matrix.places.values() for place in places}
    missing = {name for name in steps if not any(step.startswith(name) for step in met)}
    assert missing == set(), "a step that no scenario passes"
    passed = {place for places in matrix.places.values() for place in places}
    for command in ("deployVirtualMachine", "startVirtualMachine", "stopVirtualMachine", "destroyVirtualMachine"):
        assert any(f"/{command}/answered" in place for place in passed), command
    assert all(len(places) >= 2 for places in matrix.places.values()), matrix.places


@pytest.mark.timeout(SECONDS)
def test_killed_anywhere_it_ends_in_a_clean_state(matrix: Matrix) -> None:
    if not FULL:
        matrix.run(SAMPLE)
        return
    matrix.run([cell for cell in matrix.all_cells() if not ONLY or cell[0] in ONLY])
