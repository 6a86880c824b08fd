"""A question costs the same after a long past as after a short one: rows examined, on MariaDB and SQLite."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from migratekit_cli.main import app
from tests.history import generate, kept, measure
from tests.history.sqlite import counted
from tests.integration import machines, sample_joblog
from tests.integration.support import report
from tests.lab.lab import running

SHORT, LONG = 2_000, 8_000
"""Syncs: 100 and 400 of each machine."""
MORE = 1.5
"""Times as many rows as at SHORT, at most: four times would be as the past has grown."""
CONNECTIONS = 10
"""Of a sync of two disks, the daemon and whoever counts them together, at most: it was 8."""
FEW = 200
"""Rows that nobody counts: MariaDB reads its own tables, too."""
IN_WINDOW = {"assess --all --history", "report"}
"""These look at a window, of 30 days or 200 syncs, that is not full at SHORT."""
ON_SQLITE = (
    "jobs list --vm", "jobs list --vm nosuch", "jobs list --since 1d", "jobs list --status failed", "jobs tail",
    "jobs tail --vm", "replicate --all-due --dry-run",
)  # fmt: skip
"""Those that need nothing but the database."""


def test_rows_examined_on_mariadb(tmp_path: Path) -> None:
    with running(tmp_path / "run", preferred_ports=False, inventory=machines.shared) as lab:
        # The second one is as every later one is.
        for _ in range(2):
            kept.most_connections(lab)
            report(lab, "replicate", measure.MACHINE)
        assert kept.most_connections(lab) <= CONNECTIONS
        databases = measure.databases(lab)
        one = generate.sample(databases, measure.MACHINE)
        assert one.rows > 50, "a sync of two disks is recorded in more rows"
        measure.schedule(lab)
        generate.multiply(databases, one, range(LONG - SHORT, LONG), LONG)
        short = {name: cost.rows for name, cost in measure.costs(lab)}
        generate.multiply(databases, one, range(LONG - SHORT), LONG)
        long = {name: cost.rows for name, cost in measure.costs(lab)}
        databases.dispose()
    assert len(short) == len(measure.COMMANDS) + 1
    grown = {name: (short[name], rows) for name, rows in long.items() if rows > MORE * short[name] + FEW}
    assert {name for name in grown if name not in IN_WINDOW} == set(), grown
    # A window that fills up grows as the past does, and no faster.
    assert all(grown[name][1] <= LONG / SHORT * grown[name][0] + FEW for name in grown), grown


def test_instructions_on_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    databases = sample_joblog.make(tmp_path, syncs=2)
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(tmp_path))
    machine = sample_joblog.VM
    names = ", ".join(f'"{machine}-{number}" = "365d"' for number in range(1, generate.MACHINES))
    monkeypatch.setenv("MIGRATEKIT_SCHEDULE__RPO", f'{{ "{machine}" = "365d", {names} }}')
    one = generate.sample(databases, machine)
    [root] = one.oma["joblog_jobs"]
    inner = {"parent_job_id": root["id"], "kind": "volume-attach", "owner": "a volume"}
    one.oma["joblog_jobs"] += [{**root, **inner, "id": f"within-{number}"} for number in range(10)]
    costs: list[dict[str, int]] = []
    for numbers in (range(LONG - SHORT, LONG), range(LONG - SHORT)):
        generate.multiply(databases, one, numbers, LONG)
        found = {}
        for name in ON_SQLITE:
            command = [machine if word == measure.MACHINE else word for word in measure.COMMANDS[name]]
            with counted() as seen:
                done = CliRunner().invoke(app, command)
            assert done.exit_code in measure.EXITS, (command, done.output)
            found[name] = seen.instructions
        costs.append(found)
    databases.dispose()
    short, long = costs
    assert all(short.values()), "every command asks the database"
    assert {name: (short[name], long[name]) for name in long if long[name] > MORE * short[name]} == {}
