"""Running jobs seen and stopped from elsewhere, and what is kept of them afterwards."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from migratekit_core.common.codes import ErrorCode
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
from tests.lab.lab import Lab

ONE = {"MIGRATEKIT_REPLICATION__CONNECTIONS": "1"}
"""The gate lets 1 MiB/s through on each connection: time to look at the job and to stop it."""


def running(lab: Lab, vm: str) -> str | None:
    rows = sql(lab, "SELECT id FROM joblog_jobs WHERE owner = %s AND status = 'running'", vm)
    return rows[0]["id"] if rows else None


def test_a_sync_is_watched_and_cancelled_from_elsewhere_and_goes_on_later(lab: Lab) -> None:
    lab.vcenter.new_epoch("cancel01")  # something to copy, whichever test was first
    with (
        gate(lab.vcenter.port, 8 * MIB) as slow,
        started(lab, "replicate", "cancel01", **slow.settings, **ONE) as command,
    ):
        slow.wait(command)
        job_id = str(eventually("the job runs", lambda: running(lab, "cancel01")))
        with started(lab, "jobs", "tail", job_id, "--follow") as tail:
            eventually(
                "the disk's progress is in the database",
                lambda: sql(lab, "SELECT done FROM joblog_progress WHERE job_id = %s AND done > 0", job_id),
            )
            [seen] = report(lab, "jobs", "watch", "--once", "--vm", "cancel01")["jobs"]
            planned = report(lab, "jobs", "cancel", job_id[:8], "--dry-run")
            assert running(lab, "cancel01") == job_id, "a plan stops nothing"
            asked = report(lab, "jobs", "cancel", job_id[:8], "--reason", "office hours")
            ended = finished(command)
            followed = finished(tail, 60)
    assert (seen["id"], seen["vm"], seen["kind"], seen["steps"]) == (job_id, "cancel01", "replication", ["copy"])
    [disk] = seen["items"]
    assert disk["name"] == "Hard disk 1"
    assert 0 < disk["done"] < disk["total"]
    assert (planned["job_id"], asked["status"]) == (job_id, "cancelled")
    told = refused(lab, ended, 130, ErrorCode.CANCELLED)
    assert "cancelled" in told
    assert "office hours" in told
    assert followed.returncode == 0
    assert "replication cancelled: the replication was cancelled" in followed.stdout.splitlines()[-1]
    # It ended as Ctrl-C ends it: a checkpoint, no snapshot, no export, no process.
    states = {row["status"] for row in sql(lab, "SELECT status FROM joblog_steps WHERE job_id = %s", job_id)}
    assert states == {"completed", "cancelled"}
    assert sql(lab, "SELECT status FROM replication_jobs WHERE id = %s", job_id) == [{"status": "cancelled"}]
    assert lab.vcenter.vm("cancel01")["snapshots"] == []
    assert sql(lab, "SELECT position FROM replication_checkpoints WHERE job_id = %s", job_id)
    no_children(lab)
    assert run(lab, "jobs", "watch", job_id).returncode == 1, "it did not complete"

    done = report(lab, "replicate", "cancel01")
    assert done["disks"][0]["read"] < 48 * MIB, "it went on from the checkpoint"
    identical(lab, "cancel01")
    assert replica(lab, "cancel01")[0]["sync_status"] == "completed"


def test_jobs_are_listed_shown_tailed_exported_and_pruned(lab: Lab, tmp_path: Path) -> None:
    done = report(lab, "replicate", "cancel01")
    job_id = done["job_id"]
    listed = report(lab, "jobs", "list", "--vm", "cancel01", "--type", "replication", "--status", "completed")["jobs"]
    assert listed[0]["id"] == job_id
    assert {(job["owner"], job["kind"], job["status"]) for job in listed} == {("cancel01", "replication", "completed")}
    shown = run(lab, "jobs", "show", job_id).stdout
    for part in ("preflight", "copy", "remove-snapshot", "volume-export"):
        assert part in shown, part
    tailed = run(lab, "jobs", "tail", job_id, "--lines", "500").stdout.splitlines()
    assert "replication of cancel01 began" in tailed[0]
    lines = [json.loads(line) for line in run(lab, "jobs", "tail", job_id, "--output", "json").stdout.splitlines()]
    copied = [line for line in lines if line["event"] == "disk-copied"]
    assert [(line["kind"], line["step"], line["fields"]["disk"]) for line in copied] == [
        ("replication", "copy", "Hard disk 1")
    ]
    assert [event["kind"] for event in report(lab, "jobs", "show", job_id)["events"]].count("disk-copied") == 1
    assert "replication completed seconds=" in tailed[-1]

    file = tmp_path / "jobs.jsonl"
    assert run(lab, "jobs", "export", job_id, "--file", str(file)).returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    [exported] = [json.loads(line) for line in file.read_text().splitlines()]
    assert exported["schema"] == "migratekit.job-export/1"
    assert exported["job"]["id"] == job_id
    assert {"disk-planned", "disk-copied"} <= {event["kind"] for event in exported["events"]}
    assert {"volume-attach", "volume-export", "volume-unexport"} <= {each["job"]["kind"] for each in exported["jobs"]}

    ours = "id = %s OR parent_job_id = %s"
    assert sql(lab, f"SELECT id FROM joblog_jobs WHERE {ours}", job_id, job_id)
    for table, column in (
        ("steps", "started_at"),
        ("events", "created_at"),
        ("jobs", "completed_at"),
        ("jobs", "started_at"),
    ):
        mine = ours if table == "jobs" else f"job_id IN (SELECT id FROM joblog_jobs WHERE {ours})"
        older = f"UPDATE joblog_{table} SET {column} = {column} - INTERVAL 100 DAY WHERE {mine}"
        sql(lab, older, job_id, job_id)
    assert "--yes" in refused(lab, run(lab, "jobs", "prune", "--older-than", "90d"), 2, ErrorCode.NO_TERMINAL)
    pruned = report(lab, "jobs", "prune", "--older-than", "90d", "--yes")
    assert pruned["jobs"] == 1 + len(exported["jobs"])
    assert sql(lab, f"SELECT id FROM joblog_jobs WHERE {ours}", job_id, job_id) == []
    for table in ("joblog_steps", "joblog_events", "joblog_progress"):
        orphans = f"SELECT job_id FROM {table} WHERE job_id NOT IN (SELECT id FROM joblog_jobs)"
        assert sql(lab, orphans) == []
    # What describes replicas is no history.
    assert sql(lab, "SELECT id FROM replication_jobs WHERE id = %s", job_id)
    assert report(lab, "replicate", "cancel01")["kind"] == "incremental"
