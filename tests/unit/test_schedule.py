"""Who is due: by the age of the data, how long a sync takes, and how often runs come."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import IO

import pytest

from migratekit_core.common import childprocess
from migratekit_core.common.childprocess import Child
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import UsageError
from migratekit_core.config.schema import Schedule
from migratekit_core.db.engine import Databases, session
from migratekit_core.db.models.base import utcnow
from migratekit_core.db.models.oma import FailoverJob, FailoverState, ReplicationJob, VmDisk
from migratekit_core.db.sources import note_sync
from migratekit_core.services.replication import replica
from migratekit_core.services.schedule.due import lead, standings
from migratekit_core.services.schedule.run import run_due
from tests.coded import raises


def synced(
    databases: Databases, name: str, minutes_ago: float, took: float = 1.0, kind: str = "incremental",
    status: str = "completed", uuid: str = "", path: str = "",
) -> str:  # fmt: skip
    began = utcnow() - timedelta(minutes=minutes_ago)
    job_id = f"{name}-{minutes_ago}-{status}"
    with session(databases.oma) as db:
        row = ReplicationJob(
            id=job_id,
            source_vm_id=uuid or name,
            source_vm_name=name,
            source_vm_path=path or f"/DC0/vm/{name}",
            vcenter_host="v",
            datacenter="DC0",
            replication_type=kind,
            status=status,
            started_at=began,
            created_at=began,
            completed_at=began + timedelta(minutes=took),
        )
        db.add(row)
        db.flush()
        note_sync(db, row)
    return job_id


def states(databases: Databases, every: float = 300, **rpo: float) -> dict[str, tuple[str, float, float]]:
    found = standings(databases.oma, Schedule(rpo=rpo, every=every))
    return {each.name: (each.state, round(each.due_in), round(each.late)) for each in found}


def test_a_machine_is_due_early_enough_for_its_sync_to_end_in_time(databases: Databases) -> None:
    synced(databases, "web", 8, took=2)
    # 15 minutes, less 2 for the sync and 5 for the next run: due at the age of 8.
    assert states(databases, web=900)["web"] == ("due", 0, 0)
    assert states(databases, web=960)["web"] == ("in step", 60, 0)
    assert states(databases, every=60, web=900)["web"] == ("in step", 240, 0)
    assert states(databases, web=300)["web"] == ("due", 0, 180)


def test_only_what_completed_counts_and_a_full_sync_says_nothing_of_the_next(databases: Databases) -> None:
    synced(databases, "web", 60, took=55, kind="full")
    synced(databases, "web", 1, status="failed")
    assert states(databases, web=4200)["web"] == ("in step", 300, 0)
    assert lead(60, 30, 300) == 0


@pytest.mark.parametrize(("change_id", "state"), [(None, "due"), ("52 1a/7", "in step")])
def test_a_replica_that_is_half_written_is_due_at_once(databases: Databases, change_id: str | None, state: str) -> None:
    synced(databases, "web", 60)
    job = synced(databases, "web", 1, status="interrupted")
    with session(databases.oma) as db:
        db.add(
            VmDisk(
                job_id=job,
                disk_id="2000",
                vmdk_path="x",
                size_gb=1,
                datastore="d",
                unit_number=0,
                label="Hard disk 1",
                capacity_bytes=1,
                provisioning_type="thin",
                sync_status="failed",
                disk_change_id=change_id,
            )
        )
    assert states(databases, web=86400)["web"][0] == state


def test_one_that_was_never_synced_comes_first_then_the_most_urgent(databases: Databases) -> None:
    synced(databases, "long", 60)
    synced(databases, "short", 20)
    found = standings(databases.oma, Schedule(rpo={"long": 86400, "short": 900, "new": 3600}))
    assert [(each.name, each.state) for each in found] == [("new", "due"), ("short", "due"), ("long", "in step")]
    assert found[0].last is None


def test_a_machine_is_named_by_path_or_uuid_and_never_guessed(databases: Databases) -> None:
    synced(databases, "twin", 1, uuid="u1", path="/DC0/vm/a/twin")
    synced(databases, "twin", 2, uuid="u2", path="/DC0/vm/b/twin")
    found = states(databases, twin=3600, u1=3600, **{"/DC0/vm/b/twin": 3600})
    assert {name: state for name, (state, _, _) in found.items()} == {
        "twin": "ambiguous", "u1": "in step", "/DC0/vm/b/twin": "in step",
    }  # fmt: skip


def test_a_machine_is_named_as_vsphere_shows_it_or_as_its_api_has_it(databases: Databases) -> None:
    """What earlier versions have written down is the API's."""
    synced(databases, "a%2fb", 1, uuid="u1", path="/DC0/vm/a%2fb")
    synced(databases, "c/d", 1, uuid="u2", path="/DC0/vm/c%2fd")
    names = ("a/b", "a%2fb", "/DC0/vm/a/b", "/DC0/vm/a%2fb", "c/d", "c%2fd", "/DC0/vm/c%2fd")
    assert {state for state, _, _ in states(databases, **dict.fromkeys(names, 3600)).values()} == {"in step"}
    assert [found.job.source_vm_id for found in replica.named(databases.oma, "a/b")] == ["u1"]
    assert [found.job.source_vm_id for found in replica.named(databases.oma, "c%2fd")] == ["u2"]


def test_a_machine_that_was_failed_over_is_left_alone(databases: Databases) -> None:
    job = synced(databases, "gone", 600)
    with session(databases.oma) as db:
        db.add(FailoverJob(id="f", replication_job_id=job, vm_id="gone", job_type="live", status="completed"))
        db.flush()
        db.add(FailoverState(failover_job_id="f", committed=True, state={}))
    assert states(databases, gone=60)["gone"][0] == "failed over"


@pytest.mark.parametrize("told", ["", '{"code": "no-sp'], ids=["nothing", "half"])
def test_a_sync_that_could_not_write_its_error_is_known_by_what_it_said(databases: Databases, told: str) -> None:
    """The disk was full, or it was killed: the run goes on, and has its exit code and its last words."""
    synced(databases, "web", 60)

    def start(name: str, out: IO[str], file: Path) -> Child:
        script = 'printf %s "$2" > "$1"; echo "error: $3" >&2; exit 6'
        return childprocess.start(["sh", "-c", script, "sh", str(file), told, name], output=out)

    done = run_due(databases.oma, Schedule(rpo={"web": 900.0}, jitter=0), start, lambda line: None)
    (failed,) = done.failed
    assert (failed.name, failed.exit_code, failed.error, failed.code) == ("web", 6, "error: web", "")


def test_an_empty_schedule_is_a_mistake(databases: Databases) -> None:
    with raises(UsageError, ErrorCode.CONFIG_MISSING):
        standings(databases.oma, Schedule())


def test_a_schedule_is_written_as_people_say_it() -> None:
    schedule = Schedule.model_validate({"rpo": {"web": "15m", "db": "2h"}, "every": "1m", "jitter": "90s"})
    assert (schedule.rpo, schedule.every, schedule.jitter) == ({"web": 900, "db": 7200}, 60, 90)
    with pytest.raises(ValueError, match="is no duration"):
        Schedule.model_validate({"rpo": {"web": "often"}})


def test_the_command_says_what_goes_together(directory: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from migratekit_cli.main import app

    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(directory))
    for arguments, told in (
        (["replicate"], "no machine is named"),
        (["replicate", "web", "--all-due"], "--all-due goes with no machine"),
        (["replicate", "web", "--quiet"], "--quiet goes with --all-due only"),
        (["replicate", "--all-due"], "no machine is scheduled"),
        (["jobs", "list", "--status", "done"], "no status"),
        (["jobs", "list", "--since", "soon"], "is no time"),
        (["jobs", "export", "x", "--vm", "y"], "jobs are named and filtered"),
    ):
        done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
        assert done.exit_code == 2, (arguments, done.output)
        assert told in " ".join(done.output.split()), arguments


def test_a_run_is_told_in_one_line_and_trouble_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    import json

    from migratekit_cli.commands import replicate_due
    from migratekit_cli.options import Output
    from migratekit_core.services.schedule.due import Standing
    from migratekit_core.services.schedule.run import Outcome, Result

    def outcome(name: str, code: int = 0, late: float = 0.0, error: str = "") -> Outcome:
        return Outcome(name, code, 2.0, late, "" if code else "incremental", 0 if code else 1 << 20, error)

    well = Result((outcome("web"),), (Standing("web", 900, "due", None, None, 0),), 2.5)
    replicate_due._show(well, True, Output.TABLE)
    assert capsys.readouterr().out == "", "cron sends no mail"
    replicate_due._show(well, False, Output.TABLE)
    assert capsys.readouterr().out == "1 machine scheduled: 1 synced (1.0 MiB in 2.5 s)\n"

    found = (
        Standing("web", 900, "due", None, 960, 0), Standing("db", 900, "due", None, None, 0),
        Standing("held", 900, "due", None, None, 0), Standing("twin", 900, "ambiguous", None, None, 0),
        Standing("old", 900, "in step", None, 1, 5),
    )  # fmt: skip
    bad = Result(
        (
            outcome("web", late=60),
            outcome("db", 6, error="error: x\n  why: y"),
            outcome("held", 8, error="error: x\n  why: held"),
        ),
        found,
        2.5,
    )
    replicate_due._show(bad, True, Output.TABLE)
    assert capsys.readouterr().out.splitlines() == [
        "5 machines scheduled: 1 synced (1.0 MiB in 2.5 s), 1 failed, 1 busy, 1 late, 1 in step, 1 ambiguous",
        "twin: the schedule's name is that of several machines; use a path or an instanceUuid",
        "web: its replica was 16 min 0 s old when its sync began; it may be 15 min 0 s",
        "db: the sync failed with exit 6",
        "  error: x",
        "    why: y",
        "held: left for the next run",
        "  error: x",
        "    why: held",
    ]
    replicate_due._show(bad, True, Output.JSON)
    data = json.loads(capsys.readouterr().out)
    assert data["schema"] == "migratekit.replicate-due/1"
    assert [(each["vm"], each["result"], each["exit_code"]) for each in data["machines"]] == [
        ("web", "synced", 0), ("db", "failed", 6), ("held", "busy", 8),
    ]  # fmt: skip
    assert data["machines"][0]["late_seconds"] == 60
    assert data["ambiguous"] == ["twin"]

    # Volumes that nothing needs any more are no trouble: they are told where the run is told of at all.
    left = ({"volume_id": "v1", "name": "mk-web"},)
    more = Result((replace(outcome("web"), surplus=left), outcome("db")), well.standings, 2.5)
    replicate_due._show(more, True, Output.TABLE)
    assert capsys.readouterr().out == ""
    replicate_due._show(more, False, Output.TABLE)
    (line,) = capsys.readouterr().out.splitlines()[1:]
    assert line.startswith("web: 1 volume that nothing needs any more")
    assert "migratekit volumes drift" in line
    replicate_due._show(more, True, Output.JSON)
    machines = json.loads(capsys.readouterr().out)["machines"]
    assert [each["surplus_volumes"] for each in machines] == [[*left], []]
