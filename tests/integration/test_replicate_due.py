"""`replicate --all-due`, as cron runs it: who is due, two runs at once, trouble, and a run that is stopped."""

from __future__ import annotations

import signal

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.db.locks import vm_lock
from tests.integration.gate import gate
from tests.integration.support import (
    MIB,
    eventually,
    finished,
    identical,
    no_children,
    refused,
    replica,
    report,
    run,
    sql,
    started,
)
from tests.integration.test_lock import lab_engine
from tests.lab.lab import Lab

# A machine that was never synced, and then has been.
pytestmark = pytest.mark.story

QUICK = {"MIGRATEKIT_SCHEDULE__JITTER": "0"}


def schedule(**rpo: str) -> dict[str, str]:
    table = ", ".join(f'"{name}" = "{age}"' for name, age in rpo.items())
    return {**QUICK, "MIGRATEKIT_SCHEDULE__RPO": f"{{ {table} }}"}


def test_two_runs_at_once_do_the_work_once_and_say_nothing(lab: Lab) -> None:
    plan = schedule(due01="1h")
    [standing] = report(lab, "replicate", "--all-due", "--dry-run", **plan)["machines"]
    assert (standing["vm"], standing["state"], standing["last_sync"]) == ("due01", "due", None)
    with gate(lab.vcenter.port, 1 * MIB) as slow:
        extra = {**plan, **slow.settings, "MIGRATEKIT_REPLICATION__CONNECTIONS": "1"}
        with started(lab, "replicate", "--all-due", "--quiet", **extra) as first:
            slow.wait(first)
            second = run(lab, "replicate", "--all-due", "--quiet", **plan)
            slow.open()
            done = finished(first)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (second.returncode, second.stdout, second.stderr) == (8, "", "")
    assert len(sql(lab, "SELECT id FROM replication_jobs WHERE source_vm_name = 'due01'")) == 1
    identical(lab, "due01")
    # In step now: nothing is due, and one line says so.
    again = run(lab, "replicate", "--all-due", **plan)
    assert (again.returncode, again.stdout) == (0, "1 machine scheduled: nothing synced, 1 in step\n")


def test_trouble_is_told_and_stops_nobody_else(lab: Lab) -> None:
    plan = schedule(due01="1s", **{"no-such-machine": "1h"})
    done = run(lab, "replicate", "--all-due", "--quiet", **plan)
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    assert lines[0].startswith("2 machines scheduled: 1 synced (")
    assert "1 failed" in lines[0]
    assert any(line.startswith("due01: its replica was") for line in lines), "one second is not kept by anybody"
    at = lines.index("no-such-machine: the sync failed with exit 4")
    assert lines[at + 1].startswith("  error: no virtual machine")


def test_a_machine_that_somebody_works_on_is_left_to_them(lab: Lab) -> None:
    [row] = sql(lab, "SELECT DISTINCT source_vm_id FROM replication_jobs WHERE source_vm_name = 'due01'")
    engine = lab_engine(lab)
    with vm_lock(engine, row["source_vm_id"], "somebody else"):
        done = run(lab, "replicate", "--all-due", **schedule(due01="1m"))
    engine.dispose()
    assert "1 busy" in done.stdout
    assert done.returncode == 0, done.stderr


def test_a_run_that_is_stopped_stops_its_syncs_with_checkpoints(lab: Lab) -> None:
    lab.vcenter.new_epoch("due01")
    with gate(lab.vcenter.port, 2 * MIB) as slow:
        extra = {**schedule(due01="1s"), **slow.settings, "MIGRATEKIT_REPLICATION__CONNECTIONS": "1"}
        with started(lab, "replicate", "--all-due", **extra) as command:
            slow.wait(command)
            eventually(
                "it is in the database", lambda: sql(lab, "SELECT id FROM replication_jobs WHERE status = 'running'")
            )
            command.send_signal(signal.SIGTERM)
            done = finished(command)
    refused(lab, done, 130, ErrorCode.CANCELLED)
    no_children(lab)
    newest = sql(
        lab, "SELECT status FROM replication_jobs WHERE source_vm_name = 'due01' ORDER BY created_at DESC LIMIT 1"
    )
    assert newest == [{"status": "interrupted"}]
    assert lab.vcenter.vm("due01")["snapshots"] == []
    assert run(lab, "replicate", "--all-due", "--quiet", **schedule(due01="1h")).returncode == 0
    identical(lab, "due01")
    assert replica(lab, "due01")[0]["sync_status"] == "completed"
