"""Production never stays off: what a vCenter that goes away leaves, who tells of it, and the one command that ends it.

Afterwards a sample of the matrix (vsphere_matrix.py), in the same lab.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.joblog.events import EventKind
from tests.integration import vsphere_matrix
from tests.integration.saga_lane import Lane
from tests.integration.saga_matrix import lane as opened
from tests.integration.support import Done, eventually, finished, refused, sql
from tests.integration.vsphere_matrix import COMMANDS, FAULTS, judge

HASTY = {"MIGRATEKIT_VCENTER__PATIENCE": "1", "MIGRATEKIT_VCENTER__TIMEOUT": "2"}


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lane]:
    with opened(tmp_path_factory.mktemp("vsphere") / "lane") as made:
        yield made


def commands(hint: list[Any]) -> list[list[str]]:
    return [part["argv"] for part in hint if isinstance(part, dict)]


def owed(lane: Lane) -> list[list[str]]:
    """Return the commands that `jobs list`, the job itself and `doctor` name, which have to be the same."""
    listed = lane.report("jobs", "list")["owed"]
    found = [commands(one["hint"]) for one in listed]
    for one in listed:
        shown = [lane.report("jobs", "show", job)["owed"] for job in one["jobs"]]
        assert all(one["hint"] in [each["hint"] for each in inner] for inner in shown)
    done = lane.run("doctor", "--topic", "owed", "--output", "json")
    lines = [line for line in json.loads(done.stdout)["lines"] if line["status"] != "ok"]
    assert [line["what"] for line in lines] == [one["vm"] for one in listed]
    assert (done.returncode != 0) == any(argv[1] == "rollback" for one in found for argv in one)
    return [argv for one in found for argv in one]


def named(done: Done, *words: str) -> bool:
    """Return whether the last line of an error names this command."""
    return " ".join(("migratekit", *words)) in done.stderr.splitlines()[-1]


def test_a_snapshot_that_is_left(lane: Lane) -> None:
    lane.prepare("replicated")
    lane.stop_at("replication/copy/running")
    with lane.started("replicate", lane.vm, MIGRATEKIT_POINTS=str(lane.folder)) as command:
        lane.wait(command, "replication/copy/running")
        assert owed(lane) == []
    # It was killed.
    assert owed(lane) == [["migratekit", "cleanup", lane.vm]]
    # The next sync removes it, and has one of its own that it cannot remove.
    lane.lab.vcenter.fault(mode="down", seconds=60, method="RemoveSnapshot_Task", skip=1, max=1)
    done = lane.run("replicate", lane.vm, **HASTY)
    lane.lab.vcenter.clear_faults()
    refused(lane.lab, done, 6, ErrorCode.VCENTER_UNREACHABLE)
    assert named(done, "cleanup", lane.vm)
    assert len(lane.lab.vcenter.vm(lane.vm)["snapshots"]) == 1
    assert owed(lane) == [["migratekit", "cleanup", lane.vm]]
    assert len(lane.report("cleanup", lane.vm)["source_snapshots"]) == 1
    assert lane.lab.vcenter.vm(lane.vm)["snapshots"] == []
    assert owed(lane) == []


def test_a_source_that_cannot_be_started_again(lane: Lane) -> None:
    """It waits for vCenter and says so; whoever does not want to wait presses Ctrl-C once more."""
    lane.prepare("replicated")
    lane.stop_at("")
    lane.lab.vcenter.fault(mode="down", seconds=600, method="CreateSnapshot_Task", max=1)
    with lane.started("failover", lane.vm, "--yes", MIGRATEKIT_POINTS=str(lane.folder)) as command:
        eventually("vCenter is away", lambda: lane.lab.vcenter.faults()[0]["hits"])
        command.send_signal(signal.SIGINT)
        waits = "SELECT 1 FROM joblog_events e JOIN joblog_jobs j ON j.id = e.job_id WHERE j.kind = %s AND e.kind = %s"
        eventually("it waits", lambda: sql(lane.lab, waits, "rollback", EventKind.UNDO_WAITS.value))
        assert lane.lab.vcenter.vm(lane.vm)["power"] == "off"
        command.send_signal(signal.SIGINT)
        done = finished(command)
    lane.lab.vcenter.clear_faults()
    refused(lane.lab, done, 130, ErrorCode.CANCELLED)
    assert named(done, "rollback", lane.vm)
    assert lane.lab.vcenter.vm(lane.vm)["power"] == "off"
    assert ["migratekit", "rollback", lane.vm] in owed(lane)
    lane.report("rollback", lane.vm, "--yes")
    lane.runs_at_the_source()
    assert owed(lane) == []


def test_a_last_sync_that_fails(lane: Lane) -> None:
    """With a fault of vSphere's own: production runs again, and then its snapshot is removed."""
    lane.prepare("replicated")
    lane.stop_at("")
    lane.lab.vcenter.fault(method="QueryChangedDiskAreas", fault="NoPermission")
    done = lane.run("failover", lane.vm, "--yes", MIGRATEKIT_POINTS=str(lane.folder))
    lane.lab.vcenter.clear_faults()
    refused(lane.lab, done, 5, ErrorCode.VCENTER_PRIVILEGE_MISSING)
    lane.runs_at_the_source()
    assert lane.lab.vcenter.vm(lane.vm)["snapshots"] == []
    passed = lane.reached()
    assert passed.index("rollback/start-source/completed") < passed.index("rollback/remove-snapshot/running")


SAMPLE = {
    "failover": [
        ("session-ended", {"method": "Fetch", "property": "runtime"}),
        ("late", {"method": "ShutdownGuest"}),
        ("408", {"method": "Fetch", "property": "snapshot"}),
        ("503", {"method": "CreateSnapshot_Task"}),
        ("session-ended", {"method": "QueryChangedDiskAreas"}),
        ("cut-after-the-work", {"method": "RemoveSnapshot_Task"}),
    ],
    "rollback": [
        ("cut", {"method": "Fetch", "property": "runtime", "skip": 1}),
        ("408", {"method": "PowerOnVM_Task"}),
    ],
}
"""Cells of the matrix, all of a command in one run of it: each call is broken once."""


@pytest.mark.parametrize("name", list(SAMPLE))
def test_a_sample_of_the_matrix(lane: Lane, name: str) -> None:
    command, centre = COMMANDS[name], lane.lab.vcenter
    lane.prepare(command.begins)
    for fault, call in SAMPLE[name]:
        centre.fault(**FAULTS[fault], **call, max=1)
    done = lane.run(*lane.arguments(command.words), **vsphere_matrix.HASTY)
    met = [rule["hits"] for rule in centre.faults()]
    centre.clear_faults()
    lane.state = command.ends if done.returncode == 0 else "unknown"
    assert done.returncode == 0, done.stderr
    assert met == [1] * len(SAMPLE[name])
    judge(lane, command, done)
