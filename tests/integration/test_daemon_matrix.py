"""Every operation of the volume daemon, broken between any two of its steps: see daemon_matrix.py.

Every place is met by a kill -9. With DAEMON_MATRIX=full every place is met by a restart of the database, too, and every
call by every fault; without it some are. The matrix goes to .bench/daemon-matrix.json, or to DAEMON_MATRIX_FILE.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import httpx
import pytest

from migratekit_core.volumed.daemon import actions, storage
from tests.integration.daemon_matrix import TYPES, Stage, prepared
from tests.integration.machines import machine, thin
from tests.integration.support import MIB, eventually
from tests.lab.guest import Images
from tests.lab.lab import ROOT, running

DAEMON = ROOT / "src" / "migratekit_core" / "volumed" / "daemon"
FULL = os.environ.get("DAEMON_MATRIX") == "full"
FILE = Path(os.environ.get("DAEMON_MATRIX_FILE") or ROOT / ".bench" / "daemon-matrix.json")
ONLY_AFTER_A_CRASH = frozenset({"attach/detached-again"})
"""Places that no operation passes unless something went wrong before."""


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine("unused", thin(MIB))]}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The lab of all rounds; the matrix is written down at its end."""
    with running(tmp_path_factory.mktemp("matrix") / "run", preferred_ports=False, inventory=inventory) as lab:
        headers = {"Authorization": f"Bearer {lab.secrets['daemon']}"}
        base = f"http://127.0.0.1:{lab.ports['daemon']}"
        with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as http:
            made = prepared(lab, http)
            yield made
            made.write(FILE)


@pytest.fixture(scope="module")
def places(stage: Stage) -> dict[str, list[str]]:
    return stage.collect()


def named_in_code() -> set[str]:
    """Return the names of steps and places that stand in the daemon's operations."""
    found = set()
    for path in [DAEMON / name for name in ("actions.py", "checksum.py", "snapshots.py", "reconcile/repair.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
                name = (
                    node.args[{"passed": 1, "step": 0}.get(node.func.attr, 0)]
                    if node.func.attr in ("passed", "step")
                    else None
                )
                if isinstance(name, ast.Constant):
                    found.add(str(name.value))
    return found


def test_every_operation_and_every_step_is_in_the_matrix(places: dict[str, list[str]]) -> None:
    assert set(TYPES) == actions.ACTIONS.keys(), "an operation without a scenario in daemon_matrix.py"
    assert all(len(found) >= 4 for found in places.values()), places
    met = {part for found in places.values() for place in found for part in place.split("/")[1:]}
    only_later = {place.split("/")[1] for place in ONLY_AFTER_A_CRASH}
    assert named_in_code() - met == only_later, "a step that no scenario passes"


def test_killed_between_any_two_steps(stage: Stage, places: dict[str, list[str]]) -> None:
    for together in zip_longest(*places.values()):
        at = {kind: place for kind, place in zip(TYPES, together, strict=True) if place is not None}
        stage.round(at, "kill -9")
    killed = [cell for cell in stage.cells if cell.broken_by == "kill -9"]
    assert len(killed) == sum(map(len, places.values()))
    # Every operation looks before it acts, so none has a reason to fail for having been killed.
    assert [cell for cell in killed if cell.outcome != "completed"] == []


def test_database_restarted_between_two_steps(stage: Stage, places: dict[str, list[str]]) -> None:
    rounds = list(zip_longest(*places.values()))
    chosen = rounds if FULL else rounds[2 : len(rounds) : len(rounds) // 2]
    for together in chosen:
        at = {kind: place for kind, place in zip(TYPES, together, strict=True) if place is not None}
        stage.round(at, "database restarted")
    assert [c for c in stage.cells if c.broken_by == "database restarted" and c.outcome != "completed"] == []


FAULTS: list[dict[str, Any]] = [
    {"mode": "error", "errorcode": 530, "text": "internal error"},
    {"mode": "bad-gateway"},
    {"mode": "hang-after-work", "seconds": 3},
    {"mode": "drop-before"},
    {"mode": "job-fails", "text": "the agent is down"},
    {"mode": "job-vanishes"},
]
CALLS = {
    "create": ("createVolume", "createTags"),
    "clone": ("createVolume", "createTags"),
    "delete": ("deleteVolume",),
    "attach": ("attachVolume",),
    "detach": ("detachVolume",),
    "snapshot": ("createSnapshot",),
    "delete-snapshot": ("deleteSnapshot",),
}
"""The calls with which an operation changes something in CloudStack."""
DONE_ALL_THE_SAME = frozenset({"hang-after-work", "job-vanishes"})
"""CloudStack did the work and did not say so: that is found out."""


def test_the_calls_are_those_that_the_code_makes() -> None:
    tree = ast.parse((DAEMON / "storage.py").read_text())
    named = {
        ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else getattr(storage, node.args[0].id)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("run", "request")
        and node.args
        and isinstance(node.args[0], ast.Constant | ast.Name)
    }
    changing = {command for command in named if not command.startswith("list")}
    assert changing == {command for commands in CALLS.values() for command in commands}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault["mode"]))
def test_cloudstack_misbehaves(stage: Stage, fault: dict[str, Any]) -> None:
    mode = fault["mode"]
    # create and clone call the same commands: one after the other. All others at once.
    others = tuple(kind for kind in CALLS if kind not in ("create", "clone"))
    waves = [("create", 0), ("clone", 0), ("create", 1), ("clone", 1)]
    for maker, which in waves if FULL else [waves[FAULTS.index(fault) % len(waves)]]:
        kinds = (maker, *others)
        stage.prepare()
        wrong = {kind: CALLS[kind][which if kind == maker else 0] for kind in kinds}
        wrong = {kind: command for kind, command in wrong.items() if command != "deleteVolume" or "job" not in mode}
        for command in wrong.values():
            stage.lab.cloud.fault(command=command, **fault)
        # A snapshot that failed is deleted, too: first the one whose turn it is to be refused.
        stage.send("delete-snapshot")
        first = stage.sent
        eventually("it is refused", lambda: "deleteSnapshot" not in stage.lab.cloud.waiting_faults(), 60)
        stage.send(*(kind for kind in wrong if kind != "delete-snapshot"))
        stage.sent |= first
        try:
            operations = {kind: stage.ended(answer) for kind, answer in stage.sent.items()}
            # What was refused may be left in CloudStack only as long as the operation runs.
            stage.record(mode, wrong)
        finally:
            stage.lab.cloud.clear_faults()
        for kind, operation in operations.items():
            wanted = "completed" if mode in DONE_ALL_THE_SAME else "failed"
            assert operation["status"] == wanted, (kind, mode, operation)
