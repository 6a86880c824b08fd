"""`doctor --probe`: the whole way to a volume and back; nothing is left of it, whatever fails and whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.machines import machine, thin
from tests.integration.support import GIB, eventually, finished, leaked, report, run, sql, started
from tests.lab.guest import Images
from tests.lab.lab import Lab, running
from tests.lab.parts.process import end

MIB = 1 << 20
STEPS = ["probe.create", "probe.attach", "probe.export", "probe.write", "probe.read", "probe.remove"]
PROBE = ("doctor", "--topic", "probe", "--probe")
POINTS = "MIGRATEKIT_POINTS"
FULL = os.environ.get("PROBE_MATRIX") == "full"
WAYS = ("probe", "cleanup")
"""What removes what a killed probe has left."""
Line = dict[str, Any]


def inventory(images: Images) -> dict[str, Any]:
    return {"vms": [machine("probe01", thin(MIB))]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose daemon is killed, with a replica that has to stay as it is."""
    with running(tmp_path_factory.mktemp("probe") / "run", preferred_ports=False, inventory=inventory) as made:
        report(made, "replicate", "probe01")
        yield made


@pytest.fixture
def lab(own_lab: Lab) -> Iterator[Lab]:
    """The lab, of which a test may change nothing."""
    before = traces(own_lab)
    yield own_lab
    own_lab.cloud.clear_faults()
    own_lab.cloud.default_settings()
    own_lab.cloud.account()
    assert traces(own_lab) == before


def traces(lab: Lab) -> dict[str, Any]:
    """Return all that a probe could leave somewhere: in the cloud, on the OMA, in the daemon's rows, in the joblog."""
    state = lab.cloud.state()
    oma = next(vm for vm in state["virtualmachines"] if vm["name"] == "oma01")
    open_operations = "SELECT id FROM volume_operations WHERE status IN ('pending', 'running')"
    return {
        "volumes": sorted((one["id"], one["name"], one["virtualmachineid"]) for one in state["volumes"]),
        "tags": sorted((tag["resourceid"], tag["key"], tag["value"]) for tag in state["tags"]),
        "snapshots": state["snapshots"],
        "devices": sorted(path.name for path in Path(oma["byid"]).iterdir()),
        "exports": sorted(path.name for path in (lab.run / "daemon" / "exports").iterdir()),
        "rows": [
            sql(lab, f"SELECT volume_id FROM {table} ORDER BY volume_id", database="migratekit_volumes")
            for table in ("device_mappings", "nbd_exports")
        ],
        "operations": sql(lab, open_operations, database="migratekit_volumes"),
        "running": sql(lab, "SELECT id FROM joblog_jobs WHERE status = 'running'"),
        "tracked": sql(lab, "SELECT id FROM cloudstack_job_tracking WHERE status = 'running'"),
    }


def probe(lab: Lab, *arguments: str, code: int = 0, **extra: str) -> dict[str, Line]:
    """Run a probe, and return its lines by their checks."""
    done = run(lab, *PROBE, *arguments, "-o", "json", **extra)
    assert done.returncode == code, done.stdout + done.stderr
    return lines(lab, done)


def lines(lab: Lab, done: subprocess.CompletedProcess[str]) -> dict[str, Line]:
    found = json.loads(done.stdout)
    assert found["schema"] == "migratekit.doctor/1"
    assert found["exit_code"] == done.returncode
    assert leaked(lab, done.stdout + done.stderr) == []
    assert {line["topic"] for line in found["lines"]} == {"probe"}
    return {line["check"]: line for line in found["lines"]}


def statuses(found: dict[str, Line]) -> dict[str, str]:
    return {check.removeprefix("probe."): line["status"] for check, line in found.items()}


def failed_at(step: str, removed: str = "ok") -> dict[str, str]:
    """Return the statuses where a step fails: before it all is well, after it nothing is tried, and all is removed."""
    names = [check.removeprefix("probe.") for check in STEPS]
    at = names.index(step)
    found = {name: "ok" if n < at else "failed" if n == at else "skipped" for n, name in enumerate(names)}
    return {**found, "remove": "failed" if step == "remove" else removed}


def test_a_probe_tells_each_step_and_leaves_nothing(lab: Lab) -> None:
    before = traces(lab)
    found = probe(lab)
    assert [*found] == STEPS
    assert set(statuses(found).values()) == {"ok"}
    assert all(line["seconds"] > 0 and line["exit_code"] == 0 and line["todo"] == "" for line in found.values())
    assert "over TLS" in found["probe.write"]["found"]
    assert traces(lab) == before
    job = report(lab, "jobs", "list", "--type", "probe")["jobs"][0]
    assert (job["kind"], job["status"]) == ("probe", "completed")
    made = [one for one in report(lab, "volumes", "operations", "--limit", "500")["operations"]
            if one["parent_job_id"] == job["id"]]  # fmt: skip
    assert [one["type"] for one in reversed(made)] == ["create", "attach", "export", "unexport", "detach", "delete"]
    assert (made[-1]["request"]["size"], made[-1]["request"]["tags"]["migratekit"]) == (GIB, "probe")


def test_with_the_other_topics_it_comes_last_and_needs_them(lab: Lab) -> None:
    done = run(lab, "doctor", "--topic", "daemon", "--probe", "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    topics = [line["topic"] for line in json.loads(done.stdout)["lines"]]
    assert topics == ["daemon"] * (len(topics) - 6) + ["probe"] * 6
    wrong = {"MIGRATEKIT_VOLUMES__TOKEN": '{ env = "WRONG" }', "WRONG": "not-the-token"}
    done = run(lab, "doctor", "--topic", "daemon", "--probe", "-o", "json", **wrong)
    assert done.returncode == 5
    (line,) = [line for line in json.loads(done.stdout)["lines"] if line["topic"] == "probe"]
    assert (line["check"], line["status"]) == ("probe.begin", "skipped")
    (line,) = probe(lab, code=5, **wrong).values()
    assert (line["check"], line["status"], line["exit_code"]) == ("probe.begin", "failed", 5)
    assert run(lab, "doctor", "--topic", "probe").returncode == 2


def test_on_the_oma_itself_it_goes_by_the_daemons_own_settings(lab: Lab) -> None:
    done = run(lab, "--config", str(lab.daemon_config), *PROBE, "-o", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "on this host" in lines(lab, done)["probe.write"]["found"]


@pytest.mark.parametrize(
    ("command", "fault", "step"),
    [
        ("createVolume", {"mode": "error"}, "create"),
        ("createVolume", {"mode": "job-fails"}, "create"),
        ("createTags", {"mode": "error"}, "create"),
        ("createTags", {"mode": "job-fails"}, "create"),
        ("attachVolume", {"mode": "error"}, "attach"),
        ("attachVolume", {"mode": "job-fails"}, "attach"),
        ("detachVolume", {"mode": "error"}, "remove"),
        ("detachVolume", {"mode": "job-fails"}, "remove"),
        ("deleteVolume", {"mode": "error"}, "remove"),
    ],
)
def test_a_call_that_fails_is_its_steps_line_and_the_next_probe_removes_what_is_left(
    lab: Lab, command: str, fault: dict[str, Any], step: str
) -> None:
    before = traces(lab)
    lab.cloud.fault(command=command, text="its own words", **{"errorcode": 530, **fault})
    found = probe(lab, code=1)
    assert statuses(found) == failed_at(step)
    assert "its own words" in found[f"probe.{step}"]["found"]
    assert found[f"probe.{step}"]["todo"]
    assert (traces(lab) == before) == (step != "remove")
    again = probe(lab)
    assert ("probe.leftovers" in again) == (step == "remove")
    assert set(statuses(again).values()) == {"ok"}


@pytest.mark.parametrize("command", ["listVolumes", "listTags"])
def test_a_list_that_fails_leaves_nothing_for_good(lab: Lab, command: str) -> None:
    lab.cloud.fault(command=command, mode="error", errorcode=530, text="its own words", count=2)
    done = run(lab, *PROBE, "-o", "json")
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lab.cloud.clear_faults()
    assert set(statuses(probe(lab)).values()) == {"ok"}


def test_what_the_cloud_refuses_is_told_as_what_it_is(lab: Lab) -> None:
    lab.cloud.account(deny=("createVolume",))
    line = probe(lab, code=5)["probe.create"]
    assert (line["status"], line["code"]) == ("failed", "not-allowed")
    lab.cloud.account(limits={"volume": len(lab.cloud.state()["volumes"])})
    line = probe(lab, code=4)["probe.create"]
    assert (line["status"], line["code"]) == ("failed", "quota")


def test_a_full_oma_is_told_and_no_replica_gives_way(lab: Lab) -> None:
    lab.cloud.settings(max_data_volumes=1)
    assert [volume["vm_id"] for volume in report(lab, "volumes", "list")["volumes"]] != [None], "the replica is there"
    found = probe(lab, code=4)
    assert statuses(found) == failed_at("attach")
    assert (found["probe.attach"]["code"], found["probe.attach"]["exit_code"]) == ("vm-full", 4)


def test_an_oma_with_a_vm_snapshot_is_told_before_anything_is_made(lab: Lab) -> None:
    made, machine_id = (
        lab.cloud.state()["volumes"],
        next(vm["id"] for vm in lab.cloud.state()["virtualmachines"] if vm["name"] == "oma01"),
    )
    snapshot = lab.cloud.api().createVMSnapshot(virtualmachineid=machine_id, name="before")["vmsnapshot"]
    try:
        found = probe(lab, code=4)
    finally:
        lab.cloud.api().deleteVMSnapshot(vmsnapshotid=snapshot["id"])
    assert statuses(found) == failed_at("create")
    assert (found["probe.create"]["code"], found["probe.create"]["exit_code"]) == ("vm-has-snapshots", 4)
    assert lab.cloud.state()["volumes"] == made


def test_one_that_takes_too_long_is_taken_back(lab: Lab) -> None:
    lab.cloud.settings(attach_delay=8.0)
    found = probe(lab, "--probe-timeout", "3", code=1)
    assert statuses(found) == failed_at("attach")
    assert "does not end" in found["probe.attach"]["found"]


def test_a_storage_that_loses_what_was_written_is_found_out(lab: Lab, tmp_path: Path) -> None:
    place = "probe/write/nbd-write/answered"
    (tmp_path / "stop").write_text(place)
    with started(lab, *PROBE, "-o", "json", **{POINTS: str(tmp_path)}) as process:
        eventually("it is there", lambda: place in reached(tmp_path))
        (volume,) = [one for one in lab.cloud.state()["volumes"] if one["name"].startswith("mk-probe-")]
        with Path(volume["file"]).open("r+b") as file:
            file.seek(GIB - 4096)
            file.write(bytes(4096))
        (tmp_path / "stop").unlink()
        done = finished(process)
    assert done.returncode == 1, done.stdout + done.stderr
    found = lines(lab, done)
    assert statuses(found) == failed_at("read")
    assert f"at byte {GIB - MIB} differ" in found["probe.read"]["found"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_that_is_asked_to_stop_removes_its_volume(lab: Lab, tmp_path: Path, number: int) -> None:
    place = "probe/export/daemon-post-export/submitted"
    (tmp_path / "stop").write_text(place)
    with started(lab, *PROBE, **{POINTS: str(tmp_path)}) as process:
        eventually("it is there", lambda: place in reached(tmp_path))
        process.send_signal(number)
        done = finished(process)
    assert done.returncode == 130, done.stderr
    assert "its volume was removed" in done.stderr


def test_two_at_once_do_not_meet(lab: Lab, tmp_path: Path) -> None:
    place = "probe/write/nbd-write/answered"
    (tmp_path / "stop").write_text(place)
    with started(lab, *PROBE, "-o", "json", **{POINTS: str(tmp_path)}) as process:
        eventually("it is there", lambda: place in reached(tmp_path))
        (line,) = probe(lab, code=8).values()
        assert (line["check"], line["status"]) == ("probe.begin", "failed")
        (orphan,) = report(lab, "cleanup", "--orphans", "--yes")["orphans"]
        assert (orphan["removed"], "being worked on" in orphan["keep"]) == (False, True)
        (listed,) = [one for one in report(lab, "volumes", "list")["volumes"] if one["tags"]["migratekit"] == "probe"]
        assert listed["name"].startswith("mk-probe-")
        (tmp_path / "stop").unlink()
        done = finished(process)
    assert done.returncode == 0
    assert set(statuses(lines(lab, done)).values()) == {"ok"}


def test_another_omas_probe_is_left_alone(lab: Lab) -> None:
    tags = {"migratekit": "probe", "migratekit-probe": "00000000-0000-0000-0000-0000000000ff"}
    (volume_id,) = lab.cloud.volumes(1, "mk-probe-of-another", tags)
    try:
        assert "probe.leftovers" not in probe(lab)
        (orphan,) = report(lab, "cleanup", "--orphans", "--yes")["orphans"]
        assert (orphan["id"], orphan["removed"]) == (volume_id, False)
        assert orphan["keep"]
    finally:
        lab.cloud.api().deleteVolume(id=volume_id)


def reached(folder: Path) -> list[str]:
    file = folder / "reached"
    return file.read_text().splitlines() if file.exists() else []


def killed(lab: Lab, folder: Path, place: str) -> None:
    """Run a probe and kill it at a place."""
    folder.mkdir()
    (folder / "stop").write_text(place)
    with started(lab, *PROBE, **{POINTS: str(folder)}) as process:
        eventually(f"it is at {place}", lambda: place in reached(folder))
        process.kill()
        process.wait()


@pytest.mark.timeout(0 if FULL else 900)
def test_killed_anywhere_the_next_probe_or_cleanup_removes_it(lab: Lab, tmp_path: Path) -> None:
    """While each operation of the daemon is under way, by turns; with PROBE_MATRIX=full at every place, both ways."""
    before = traces(lab)
    folder = tmp_path / "all"
    folder.mkdir()
    probe(lab, **{POINTS: str(folder)})
    places = [*dict.fromkeys(place for place in reached(folder) if place.startswith("probe/"))]
    calls = {place.split("/")[2] for place in places}
    assert calls >= {"daemon-post-volumes", "daemon-post-attach", "daemon-post-export", "nbd-write", "nbd-read",
                     "daemon-post-unexport", "daemon-post-detach", "daemon-delete-volumes"}  # fmt: skip
    chosen = [place for place in places if FULL or place.endswith(("/submitted", "/nbd-write/answered"))]
    for number, place in enumerate(chosen):
        for way in WAYS if FULL else WAYS[number % 2 :][:1]:
            killed(lab, tmp_path / f"{number}-{way}", place)
            if way == "probe":
                assert set(statuses(probe(lab)).values()) == {"ok"}, place
            else:
                found = report(lab, "cleanup", "--orphans", "--yes")["orphans"]
                assert all(one["removed"] for one in found), place
            assert traces(lab) == before, f"{place}, then {way}"
    print(f"{len(chosen)} places of {len(places)}")


@pytest.mark.parametrize("call", ["post-volumes", "post-attach", "post-export", "post-unexport", "post-detach",
                                  "delete-volumes"])  # fmt: skip
def test_a_daemon_that_is_killed_meanwhile_delays_it(lab: Lab, tmp_path: Path, call: str) -> None:
    steps = {"post-volumes": "create", "post-attach": "attach", "post-export": "export"}
    place = f"probe/{steps.get(call, 'remove')}/daemon-{call}/submitted"
    (tmp_path / "stop").write_text(place)
    with started(lab, *PROBE, "-o", "json", **{POINTS: str(tmp_path)}) as process:
        eventually("it is there", lambda: place in reached(tmp_path))
        os.kill(lab.parts["daemon"].process.pid, signal.SIGKILL)
        lab.parts["daemon"].process.wait()
        (tmp_path / "stop").unlink()
        lab.restart_daemon()
        done = finished(process)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(statuses(lines(lab, done)).values()) == {"ok"}


def test_a_daemon_that_is_away_is_told_at_once(lab: Lab) -> None:
    end(lab.parts["daemon"].process.pid)
    lab.parts["daemon"].process.wait(60)
    try:
        (line,) = probe(lab, code=6).values()
    finally:
        lab.restart_daemon()
    assert (line["check"], line["status"], line["exit_code"]) == ("probe.begin", "failed", 6)
