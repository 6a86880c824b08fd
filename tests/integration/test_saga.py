"""Failover and its way back, as an operator sees it: cancelled, failed, waiting, in each other's way, ten at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cs import CloudStack

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError
from migratekit_core.common.units import human_seconds
from migratekit_core.config import load_config
from migratekit_core.context import open_runtime
from migratekit_core.db.wavestates import CUTOVER, REHEARSE
from migratekit_core.services.fleet.tasks import perform
from tests.integration.machines import machine, random_disk
from tests.integration.saga_lane import Lane
from tests.integration.saga_watch import Watch, forget
from tests.integration.support import (
    GIB,
    GRANULE,
    MIB,
    children,
    eventually,
    finished,
    identical,
    nothing_left,
    refused,
    replica,
    report,
    run,
    sql,
    started,
    volume_ids,
)
from tests.integration.support import tags as tags_of
from tests.lab.cloudstack.catalogue import ZONE, stable_id
from tests.lab.guest import Images
from tests.lab.lab import COMMAND, Lab, running

VM = "two01"
OUTAGE_SECONDS = float(os.environ.get("OUTAGE_SECONDS", "8"))
"""How long the database is away, once longer than any single try to reach it takes."""
TEN = tuple(f"ten{number:02}" for number in range(1, 11))


def inventory(images: Images) -> dict[str, object]:
    two = machine(VM, random_disk(images, "two01a", 2 * MIB), random_disk(images, "two01b", MIB + 1536))
    return {"vms": [two, *(machine(vm, random_disk(images, vm, MIB)) for vm in TEN)]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab with room for eleven machines on its OMA."""
    with running(tmp_path_factory.mktemp("sagas") / "run", preferred_ports=False, inventory=inventory) as made:
        yield made


@pytest.fixture
def replicated(lab: Lab) -> Lab:
    """The lab, with a machine that runs at the source and has a complete replica."""
    report(lab, "replicate", VM)
    return lab


@contextmanager
def waiting_at(lab: Lab, place: str, *command: str) -> Iterator[tuple[Lane, subprocess.Popen[str]]]:
    """Have a command wait at a place; it goes on when the lane's `stop_at` is called."""
    lane = Lane(lab, VM)
    lane.stop_at(place)
    with started(lab, *command, MIGRATEKIT_POINTS=str(lane.folder)) as process:
        lane.wait(process, place)
        yield lane, process


def power(lab: Lab, vm: str = VM) -> str:
    return str(lab.vcenter.vm(vm)["power"])


def state(lab: Lab, vm: str = VM) -> str | None:
    found = lab.cloud.machine(vm)
    return str(found["state"]) if found is not None else None


def guest_writes(lab: Lab, seed: int) -> None:
    lab.vcenter.write(VM, 0, 5 * GRANULE, random.Random(seed).randbytes(GRANULE))


def test_over_and_back_again(replicated: Lab) -> None:
    lab = replicated
    guest_writes(lab, 1)
    with Watch(lab, (VM,)).on():
        over = report(lab, "failover", VM, "--yes", "--verify")
        assert (power(lab), state(lab)) == ("off", "Running")
        identical(lab, VM)
        _downtime_is_told(lab, over)
        # The machine there writes: on the disk, and behind its end, for the volume is longer.
        for volume_id in over["volume_ids"]:
            with Path(lab.cloud.volume(volume_id)["file"]).open("r+b") as file:
                for offset in (3 * GRANULE, GIB - 512):
                    file.seek(offset)
                    file.write(random.randbytes(512))
        plan = report(lab, "rollback", VM, "--dry-run")
        assert plan["destination_vm_id"] == over["destination_vm_id"]
        assert any("what it wrote is lost" in step for step in plan["steps"])
        assert state(lab) == "Running"
        back = report(lab, "rollback", VM, "--yes")
    assert (back["source"], back["content"]) == ("started", "unknown")
    assert (power(lab), state(lab)) == ("on", None)
    assert sorted(back["volume_ids"]) == sorted(over["volume_ids"])
    oma = lab.cloud.machine("oma01")
    assert oma is not None
    for volume_id in over["volume_ids"]:
        assert lab.cloud.volume(volume_id)["virtualmachineid"] == oma["id"]
    assert [row["disk_change_id"] for row in replica(lab, VM)] == [None, None]
    guest_writes(lab, 2)
    synced = report(lab, "replicate", VM, "--compare")
    assert [disk["compared"] for disk in synced["disks"]] == [True, True]
    assert synced["bytes_moved"] <= 6 * GRANULE
    identical(lab, VM)
    nothing_left(lab, VM)
    again = report(lab, "rollback", VM, "--yes")
    assert (again["job_id"], again["failover_id"]) == (None, over["failover_id"])
    assert report(lab, "replicate", VM)["kind"] == "incremental"


def _downtime_is_told(lab: Lab, over: dict[str, Any]) -> None:
    steps = {span["step"]: span["seconds"] for span in over["downtime"]}
    order = ["shutdown-source", "final-sync", "verify", "hand-over", "move-volumes", "no-return"]
    order += ["start", "boot-check"]
    assert [*steps] == order
    assert sum(steps.values()) == pytest.approx(over["downtime_seconds"], abs=0.1)
    shown = report(lab, "jobs", "show", over["job_id"])
    assert (shown["downtime"], shown["downtime_seconds"]) == (over["downtime"], over["downtime_seconds"])
    text = run(lab, "jobs", "show", over["job_id"], PYTHONIOENCODING="utf-8").stdout
    assert f"downtime {human_seconds(over['downtime_seconds'])}\n" in text
    assert any(line.strip().startswith("final-sync") and "█" in line for line in text.splitlines())


def test_cancelled_before_the_point_of_no_return_everything_is_given_back(replicated: Lab) -> None:
    lab, before = replicated, volume_ids(replicated, VM)
    guest_writes(lab, 3)
    with (
        Watch(lab, (VM,)).on(),
        waiting_at(lab, "failover/no-return/running", "failover", VM, "--yes") as (_, command),
    ):
        assert (power(lab), state(lab)) == ("off", "Stopped")
        command.send_signal(signal.SIGTERM)
        said = refused(lab, finished(command), 130, ErrorCode.CANCELLED)
    assert "was cancelled" in said
    assert f"the source {VM} runs again" in said
    assert (power(lab), state(lab)) == ("on", None)
    # Nothing has run on the volumes, so what the last sync left on them still holds.
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    assert volume_ids(lab, VM) == before
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_failover_goes_on_when_nobody_reads_its_progress_any_more(replicated: Lab) -> None:
    """`failover VM 2>&1 | tee log`, and tee is gone: the source must not stay off for that."""
    lab = replicated
    reads, writes = os.pipe()
    os.close(reads)
    command = [str(COMMAND), "--config", str(lab.config), "failover", VM, "--yes", "-o", "json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writes, check=False, timeout=120)
    os.close(writes)
    assert done.returncode == 0
    assert json.loads(done.stdout)["vm"] == VM
    assert (power(lab), state(lab)) == ("off", "Running")
    report(lab, "rollback", VM, "--yes")
    report(lab, "replicate", VM, "--compare")
    nothing_left(lab, VM)


def cancelled_at(lab: Lab, place: str, *command: str) -> tuple[str, list[str]]:
    """Cancel a command from elsewhere while it stands at a place, let it go on; return what it said, and its steps."""
    with waiting_at(lab, place, *command) as (lane, process):
        (job,) = [job for job in report(lab, "jobs", "list", "--vm", VM)["jobs"] if job["status"] == "running"]
        report(lab, "jobs", "cancel", job["id"], "--wait", "1s")
        lane.stop_at()
        said = refused(lab, finished(process), 130, ErrorCode.CANCELLED)
    assert "asked by " in said
    return said, [step["name"] for step in report(lab, "jobs", "show", job["id"])["steps"]]


@pytest.mark.parametrize("step", ["preflight", "root-disk", "start"])
def test_a_rehearsal_notices_before_each_step_that_it_is_cancelled(replicated: Lab, step: str) -> None:
    lab = replicated
    said, steps = cancelled_at(lab, f"test-failover/{step}/completed", "test-failover", VM)
    if step == "preflight":
        assert steps == ["preflight"]
    else:
        assert "the rehearsal of two01 was cancelled" in said
        assert said.endswith("   do: what it had made was taken away")
        assert steps[steps.index(step) + 1] == "find-rehearsals", "it goes on with taking away what there is"
    assert [vm for vm in lab.cloud.state()["virtualmachines"] if vm["name"].startswith(f"{VM}-test-")] == []
    nothing_left(lab, VM)


def test_a_failover_that_is_cancelled_while_its_machine_is_deployed_gives_everything_back(replicated: Lab) -> None:
    lab = replicated
    said, steps = cancelled_at(lab, "failover/deploy/completed", "failover", VM, "--yes")
    assert not {"template-root", "shutdown-source"} & {*steps}
    assert "the failover of two01 was cancelled" in said
    assert "before its source was shut down" in said
    assert (power(lab), state(lab)) == ("on", None)
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    nothing_left(lab, VM)


def test_a_wave_leaves_an_operators_rehearsal_to_be_looked_at(replicated: Lab) -> None:
    lab = replicated
    made = report(lab, "test-failover", VM)
    with lab.sides.vma(), open_runtime(load_config(lab.config)) as opened:
        for task in (REHEARSE, CUTOVER):
            with pytest.raises(PreconditionError, match=f"a rehearsal of {VM} runs already"):
                perform(opened, task, VM, verify=False)
    there = {vm["id"]: vm["state"] for vm in lab.cloud.state()["virtualmachines"]}
    assert there[made["destination_vm_id"]] == "Running"
    assert power(lab) == "on"
    report(lab, "cleanup", VM)
    nothing_left(lab, VM)


def test_a_database_that_is_away_while_a_failover_is_written_down_delays_it(replicated: Lab) -> None:
    """The machine was made just now, and its id is to be stored: the worst moment to give up."""
    lab = replicated
    place = "failover/deploy/deployVirtualMachine/answered"
    with Watch(lab, (VM,)).on(), waiting_at(lab, place, "failover", VM, "--yes") as (lane, command):
        lab.parts["db"].stop()
        lane.stop_at()
        time.sleep(OUTAGE_SECONDS)
        assert command.poll() is None, finished(command).stderr
        lab.restart_database()
        done = finished(command)
    assert done.returncode == 0, done.stderr
    assert (power(lab), state(lab)) == ("off", "Running")
    identical(lab, VM)
    # Both locks went with the database, and were taken back.
    assert sql(lab, "SELECT name FROM vm_locks WHERE holder LIKE %s", "failover two01 (pid %")
    report(lab, "rollback", VM, "--yes")
    nothing_left(lab, VM)


def test_a_cloud_that_refuses_to_deploy_costs_a_moment_and_not_the_machine(replicated: Lab) -> None:
    lab = replicated
    lab.cloud.fault(command="deployVirtualMachine", mode="error", text="out of luck")
    said = refused(lab, run(lab, "failover", VM, "--yes"), 1, ErrorCode.UNKNOWN)
    assert "out of luck" in said
    assert "was not shut down" in said
    assert (power(lab), state(lab)) == ("on", None)
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    nothing_left(lab, VM)


NEW_KEYS = ("deploy_spec", "swap_tried", "trial_key", "taken_over", "standing_machine")
"""What earlier versions do not remember of a failover."""


@pytest.mark.parametrize("then", ["failover", "rollback"])
@pytest.mark.parametrize(
    "place", ["failover/final-sync/completed", "failover/move-volumes/daemon-post-attach/answered"]
)
def test_a_failover_that_an_earlier_version_has_begun_goes_both_ways(replicated: Lab, place: str, then: str) -> None:
    """That one deployed its machine when the volumes were handed over, and had it hold them one by one."""
    lab = replicated
    with waiting_at(lab, place, "failover", VM, "--yes") as (_, command):
        command.kill()
        finished(command)
    (row,) = sql(lab, "SELECT f.id, f.destination_vm_id AS vm, s.state FROM failover_jobs f JOIN failover_states s ON "
                      "s.failover_job_id = f.id WHERE f.status = 'running' AND f.job_type = 'live'")  # fmt: skip
    remembered = {key: value for key, value in json.loads(str(row["state"])).items() if key not in NEW_KEYS}
    if "final-sync" in place:
        api = CloudStack(endpoint=lab.cloud.url, key=lab.cloud.api_key, secret=lab.cloud.secret_key)
        api.destroyVirtualMachine(id=row["vm"], expunge=True, fetch_result=True)
        sql(lab, "UPDATE failover_jobs SET destination_vm_id = NULL WHERE id = %s", row["id"])
        remembered = {key: value for key, value in remembered.items() if not key.startswith("deploy_")}
    else:
        remembered["deploy_path"] = "template"
    sql(lab, "UPDATE failover_states SET state = %s WHERE failover_job_id = %s", json.dumps(remembered), row["id"])
    if then == "failover":
        report(lab, "failover", VM, "--yes")
        assert (power(lab), state(lab)) == ("off", "Running")
        identical(lab, VM)
        report(lab, "rollback", VM, "--yes")
        report(lab, "replicate", VM, "--compare")
    else:
        report(lab, "rollback", VM, "--yes")
        assert (power(lab), state(lab)) == ("on", None)
        report(lab, "replicate", VM)
        identical(lab, VM)
    nothing_left(lab, VM)


def test_where_no_volume_can_be_a_root_disk_nothing_is_shut_down(replicated: Lab) -> None:
    lab, before = replicated, len(replicated.cloud.state()["volumes"])
    lab.cloud.settings(managed_storage=True)
    said = refused(lab, run(lab, "failover", VM, "--yes"), 4, ErrorCode.ROOT_SWAP_REFUSED)
    lab.cloud.default_settings()
    assert "was not shut down" in said
    assert (power(lab), state(lab)) == ("on", None)
    assert len(lab.cloud.state()["volumes"]) == before, "neither the trial volume nor the template's disk is left"
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    nothing_left(lab, VM)


def test_a_machine_that_may_not_be_expunged_waits_for_the_next_failover(replicated: Lab) -> None:
    """Destroyed and kept it would have its addresses; stopped, it is as good as a new one."""
    lab = replicated
    lab.cloud.settings(allow_user_expunge=False)
    for place in ("failover/no-return/running", "failover/move-volumes/running"):
        with waiting_at(lab, place, "failover", VM, "--yes") as (_, command):
            command.send_signal(signal.SIGTERM)
            refused(lab, finished(command), 130, ErrorCode.CANCELLED)
        assert (power(lab), state(lab)) == ("on", "Stopped")
    made = lab.cloud.machine(VM)
    assert made is not None
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    assert report(lab, "failover", VM, "--yes")["destination_vm_id"] == made["id"]
    identical(lab, VM)
    lab.cloud.default_settings()
    report(lab, "rollback", VM, "--yes")
    report(lab, "replicate", VM, "--compare")
    nothing_left(lab, VM)


def test_a_machine_that_somebody_made_by_hand_meanwhile_is_not_taken_for_ours(replicated: Lab) -> None:
    """The failover died before it made its machine, and an operator made one of that name: it must not be destroyed."""
    lab = replicated
    place = "failover/deploy/deployVirtualMachine/asking"
    with waiting_at(lab, place, "failover", VM, "--yes") as (_, command):
        command.kill()
        finished(command)
    api = CloudStack(endpoint=lab.cloud.url, key=lab.cloud.api_key, secret=lab.cloud.secret_key)
    offering = stable_id("serviceoffering", "Small Instance")
    made = api.deployVirtualMachine(
        zoneid=ZONE, serviceofferingid=offering, templateid=stable_id("template", "debian-12"), name=VM,
        networkids=stable_id("network", "guest-prod"), fetch_result=True,
    )["virtualmachine"]["id"]  # fmt: skip
    said = refused(lab, run(lab, "failover", VM, "--yes"), 4, ErrorCode.NOT_OURS)
    assert "did not make" in said and f"the source {VM} was not shut down" in said
    assert (power(lab), state(lab)) == ("on", "Running")
    assert api.listVirtualMachines(id=made, fetch_list=True)[0]["state"] == "Running"
    api.destroyVirtualMachine(id=made, expunge=True, fetch_result=True)
    assert report(lab, "replicate", VM)["kind"] == "incremental"
    nothing_left(lab, VM)


def test_behind_the_point_of_no_return_the_error_names_both_ways(replicated: Lab) -> None:
    lab = replicated
    lab.cloud.fault(command="startVirtualMachine", mode="error", text="no host is up")
    said = refused(lab, run(lab, "failover", VM, "--yes"), 1, ErrorCode.UNKNOWN)
    assert "the point of no return is passed" in said
    assert f"migratekit failover {VM}" in said
    assert f"migratekit rollback {VM}" in said
    assert (power(lab), state(lab)) == ("off", "Stopped")
    # A cron job that replicates in between is told, too, and so is a cleanup.
    said = refused(lab, run(lab, "replicate", VM), 4, ErrorCode.IN_FAILOVER)
    assert f"migratekit rollback {VM}" in said
    assert report(lab, "cleanup", VM)["unfinished_failover"]
    done = report(lab, "failover", VM, "--yes")
    assert (power(lab), state(lab)) == ("off", "Running")
    assert "(nobody worked on it)" in {span["step"] for span in done["downtime"]}
    identical(lab, VM)
    assert report(lab, "rollback", VM, "--yes")["content"] == "unknown"


def test_who_works_on_a_machine_is_named_to_whoever_comes_second(replicated: Lab) -> None:
    lab = replicated
    with waiting_at(lab, "failover/final-sync/running", "failover", VM, "--yes") as (lane, command):
        for other in (["replicate", VM], ["cleanup", VM], ["test-failover", VM], ["rollback", VM, "--yes"]):
            said = refused(lab, run(lab, *other), 8, ErrorCode.LOCKED)
            assert f"held by failover {VM} (pid {command.pid} on" in said
        lane.stop_at()
        assert finished(command).returncode == 0
    assert state(lab) == "Running"
    report(lab, "rollback", VM, "--yes")


def test_a_failover_a_sync_and_a_cleanup_at_once(replicated: Lab) -> None:
    lab = replicated
    report(lab, "test-failover", VM)
    with (
        started(lab, "failover", VM, "--yes") as failover,
        started(lab, "replicate", VM) as sync,
        started(lab, "cleanup", VM) as cleanup,
    ):
        done = {name: finished(one) for name, one in (("f", failover), ("r", sync), ("c", cleanup))}
    codes = {name: one.returncode for name, one in done.items()}
    assert 0 in codes.values(), [one.stderr for one in done.values()]
    for name, one in done.items():
        if one.returncode == 4 and name == "r":  # it came when the failover had ended
            assert "is failed over" in refused(lab, one, 4, ErrorCode.IN_FAILOVER)
        elif one.returncode:
            assert "held by " in refused(lab, one, 8, ErrorCode.LOCKED)
    # A failover shares the machine with nobody; whoever came before it, or after it, is another matter.
    assert (state(lab) == "Running") == (codes["f"] == 0)
    if codes["f"] == 0:
        report(lab, "rollback", VM, "--yes")
    report(lab, "cleanup", VM)
    report(lab, "replicate", VM)
    identical(lab, VM)
    nothing_left(lab, VM)


def test_a_rehearsal_is_cleaned_up_while_the_machine_is_replicated_and_its_rows_are_lost(replicated: Lab) -> None:
    lab = replicated
    made = report(lab, "test-failover", VM)
    assert "runs already" in refused(lab, run(lab, "test-failover", VM), 4, ErrorCode.IN_FAILOVER)
    forget(lab, made["failover_id"])
    found = report(lab, "cleanup", "--orphans")["orphans"]
    assert {one["id"] for one in found} == {made["destination_vm_id"], *made["volume_ids"], *made["snapshot_ids"]}
    assert not any(one["removed"] or one["keep"] for one in found)
    guest_writes(lab, 4)
    with waiting_at(lab, "replication/copy/running", "replicate", VM) as (lane, sync):
        # What belongs to a machine that is worked on is nobody's orphan yet.
        kept = report(lab, "cleanup", "--orphans", "--yes")["orphans"]
        assert all("is being worked on" in one["keep"] for one in kept)
        done = report(lab, "cleanup", VM)
        lane.stop_at()
        assert finished(sync).returncode == 0
    assert done["machines"] == [made["destination_vm_id"]]
    assert sorted(done["volumes"]) == sorted(made["volume_ids"])
    assert sorted(done["snapshots"]) == sorted(made["snapshot_ids"])
    identical(lab, VM)
    nothing_left(lab, VM)
    assert report(lab, "cleanup", "--orphans", "--yes")["orphans"] == []


def test_orphaned_snapshots_are_found_even_where_their_volume_is_deleted(replicated: Lab) -> None:
    lab, source = replicated, volume_ids(replicated, VM)[0]
    api = CloudStack(endpoint=lab.cloud.url, key=lab.cloud.api_key, secret=lab.cloud.secret_key)
    tags = [{"key": key, "value": value} for key, value in ours(lab, source).items()]

    def snapshot(volume_id: str, name: str) -> str:
        made = api.createSnapshot(volumeid=volume_id, name=name, tags=tags, fetch_result=True)
        return str(made["snapshot"]["id"])

    # As failovers, and rehearsals, leave them whose rows were lost.
    kept = snapshot(source, "mk-convert-0badcafe-1")
    zone = api.listZones(fetch_list=True)[0]["id"]
    clone = api.createVolume(name="lost", snapshotid=kept, zoneid=zone, fetch_result=True)["volume"]["id"]
    lost = [snapshot(clone, "mk-test-0badcafe-1"), snapshot(clone, "mk-convert-0badcafe-2")]
    api.deleteVolume(id=clone)
    foreign = api.createSnapshot(volumeid=source, name="by-hand", fetch_result=True)["snapshot"]["id"]
    found = report(lab, "cleanup", "--orphans")["orphans"]
    assert {one["id"]: one["keep"] for one in found} == {kept: "", lost[0]: "", lost[1]: ""}
    assert {one["kind"] for one in found} == {"snapshot"}
    # A cleanup of the machine finds what its rehearsals have left, and no more.
    assert report(lab, "cleanup", VM)["snapshots"] == [lost[0]]
    done = report(lab, "cleanup", "--orphans", "--yes")["orphans"]
    assert {one["id"] for one in done if one["removed"]} == {kept, lost[1]}
    assert [one["id"] for one in lab.cloud.state()["snapshots"]] == [foreign]
    api.deleteSnapshot(id=foreign, fetch_result=True)
    nothing_left(lab, VM)


def test_what_another_database_made_is_no_orphan_of_this_one(replicated: Lab, tmp_path: Path) -> None:
    """Two OMAs in one account, each with its database, or one whose database was lost."""
    lab = replicated
    report(lab, "test-failover", VM)
    before = lab.cloud.state()
    other = tmp_path / "other.toml"
    text = lab.config.read_text()
    begin, end = text.index("[database]"), text.index("[ossea]")
    key = next(line for line in text[begin:end].splitlines() if line.startswith("encryption_key"))
    database = f'[database]\nkind = "sqlite"\ndirectory = "{tmp_path / "db"}"\n{key}\n\n'
    other.write_text(text[:begin] + database + text[end:])
    command = [str(COMMAND), "--config", str(other)]
    subprocess.run([*command, "db", "upgrade"], check=True, capture_output=True)
    swept = subprocess.run([*command, "cleanup", "--orphans", "--yes", "-o", "json"], check=True, capture_output=True)
    found = json.loads(swept.stdout)["orphans"]
    assert {one["kind"] for one in found} == {"machine", "volume", "snapshot"}
    assert {("another OMA" in one["keep"], one["removed"]) for one in found} == {(True, False)}
    for kind in ("virtualmachines", "volumes", "snapshots"):
        assert [one["id"] for one in lab.cloud.state()[kind]] == [one["id"] for one in before[kind]]
    report(lab, "cleanup", VM)
    nothing_left(lab, VM)


def ours(lab: Lab, volume_id: str) -> dict[str, str]:
    """Return a volume's tags."""
    state = lab.cloud.state()
    return dict(tags_of(state, lab.cloud.volume(volume_id)))


def test_held_until_it_is_released(replicated: Lab) -> None:
    lab = replicated
    with started(lab, "failover", VM, "--yes", "--hold", "--output", "json") as command:
        assert command.stderr is not None
        told = next(line for line in command.stderr if "--release" in line)
        assert f"migratekit failover {VM} --release" in told
        eventually("it was synced", lambda: _steps(lab, "keep-in-step", command.pid))
        assert (power(lab), state(lab)) == ("on", "Stopped")
        guest_writes(lab, 5)
        report(lab, "failover", VM, "--release")
        done = finished(command)
    assert done.returncode == 0, done.stderr
    assert (power(lab), state(lab)) == ("off", "Running")
    identical(lab, VM)
    assert '"predicted_downtime_seconds": null' not in done.stdout
    report(lab, "rollback", VM, "--yes")


def _steps(lab: Lab, name: str, pid: int) -> list[dict[str, Any]]:
    """Return the completed steps of this name, of the failover that a process runs."""
    job = "SELECT id FROM joblog_jobs WHERE kind = 'failover' AND pid = %s"
    query = f"SELECT * FROM joblog_steps WHERE name = %s AND status = 'completed' AND job_id IN ({job})"
    return sql(lab, query, name, pid)


def test_outside_the_window_it_waits_and_can_be_cancelled(replicated: Lab) -> None:
    lab, now = replicated, datetime.now().astimezone()
    window = f"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"
    with started(lab, "failover", VM, "--yes", "--window", window) as command:
        eventually("it was synced", lambda: _steps(lab, "keep-in-step", command.pid))
        assert (power(lab), state(lab)) == ("on", "Stopped"), "its machine was made when the wait began"
        # Named as `discover` has it, not as the job is called.
        (path,) = sql(lab, "SELECT DISTINCT source_vm_path AS path FROM replication_jobs WHERE source_vm_name = %s", VM)
        report(lab, "failover", path["path"], "--cancel")
        said = refused(lab, finished(command), 130, ErrorCode.CANCELLED)
    assert "before its source was shut down" in said
    assert (power(lab), state(lab)) == ("on", None)
    assert "none runs" in refused(lab, run(lab, "failover", VM, "--release"), 4, ErrorCode.NOT_FAILED_OVER)
    assert run(lab, "failover", VM, "--yes", "--window", "noon").returncode == 2


def test_a_downtime_that_never_fits_is_told_and_one_that_fits_is_cut_over_in_time(replicated: Lab) -> None:
    lab = replicated
    said = refused(lab, run(lab, "failover", VM, "--yes", "--max-downtime", "1s"), 4, ErrorCode.DOWNTIME_TOO_LONG)
    assert "will not fit into 1.0 s" in said
    assert (power(lab), state(lab)) == ("on", None)
    moment = datetime.now().astimezone() + timedelta(seconds=15)
    done = report(lab, "failover", VM, "--yes", "--max-downtime", "30m", "--at", moment.isoformat(timespec="seconds"))
    steps = report(lab, "jobs", "show", done["job_id"])["steps"]
    shutdown = next(step for step in steps if step["name"] == "shutdown-source")
    began = datetime.fromisoformat(f"{shutdown['started_at']}+00:00")
    assert began >= moment - timedelta(seconds=1)
    assert 0 < done["predicted_downtime_seconds"] < 1800
    assert state(lab) == "Running"
    report(lab, "rollback", VM, "--yes")


def at_once(lab: Lab, command: str, *options: str) -> None:
    """Run a command about each of the ten, all at the same time."""
    with ExitStack() as stack:
        running = [stack.enter_context(started(lab, command, vm, *options)) for vm in TEN]
        done = [finished(process, 250) for process in running]
    assert [one.returncode for one in done] == [0] * len(TEN), [one.stderr for one in done if one.returncode]


@pytest.mark.timeout(600)
def test_ten_machines_at_once(lab: Lab) -> None:
    at_once(lab, "replicate")
    with Watch(lab, TEN).on():
        at_once(lab, "failover", "--yes")
    for vm in TEN:
        assert (power(lab, vm), state(lab, vm)) == ("off", "Running")
        identical(lab, vm)
    nothing_left(lab, *TEN)
    assert children(lab) == []
