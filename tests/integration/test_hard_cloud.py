"""A cloud that refuses to expunge, pages by few, limits calls and restarts: what is a double's rule is a real server's.

The whole demo under each of these conditions is `nox -s hard_clouds`.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from migratekit_core.services.assessment.access import SETTING
from tests.integration.support import GIB, eventually, refused, report, run
from tests.lab.conditions import restarted
from tests.lab.lab import Lab

VM = "hard01"
NO_ADDRESSES = {"MIGRATEKIT_FAILOVER__KEEP_MAC": "false", "MIGRATEKIT_FAILOVER__KEEP_IP": "never"}


@pytest.fixture(scope="module", autouse=True)
def replicated(shared_lab: Lab) -> None:
    """The machine has a replica, whichever of the tests comes first."""
    report(shared_lab, "replicate", VM)


def machines(lab: Lab, state: str = "") -> list[str]:
    """Return the ids of the machines of this test, those in a state where one is given."""
    found = [vm for vm in lab.cloud.state()["virtualmachines"] if vm["name"].startswith(VM)]
    return [vm["id"] for vm in found if not state or vm["state"] == state]


def oma_of(lab: Lab) -> dict[str, Any]:
    return next(vm for vm in lab.cloud.state()["virtualmachines"] if vm["name"] == "oma01")


def let_go(lab: Lab) -> None:
    """Detach the machine's replica from the OMA; what a rehearsal has stays where it is."""
    for volume in report(lab, "volumes", "list")["volumes"]:
        if volume["tags"].get("migratekit-vm") == VM and volume["vm_id"] == oma_of(lab)["id"]:
            report(lab, "volumes", "detach", volume["id"], "--yes")


def api_calls(lab: Lab, command: str) -> list[dict[str, Any]]:
    return [event for event in lab.cloud.state()["events"] if event["command"] == command]


def test_a_rehearsal_is_cleaned_up_where_the_account_may_not_expunge(lab: Lab) -> None:
    report(lab, "replicate", VM)
    before = {volume["id"] for volume in lab.cloud.state()["volumes"]}
    # By the role; the next test's account lacks it by the setting.
    lab.cloud.account(deny=("expungeVirtualMachine",))
    plan = report(lab, "test-failover", VM, "--dry-run")
    (told,) = [check for check in plan["checks"] if check["name"] == "expunging"]
    assert told["state"] == "warning"
    made = report(lab, "test-failover", VM)["destination_vm_id"]
    assert report(lab, "cleanup", VM, "--dry-run")["machines_kept"] is True
    done = report(lab, "cleanup", VM)
    assert done["kept_machines"] == [made]
    state = lab.cloud.state()
    (kept,) = [vm for vm in state["virtualmachines"] if vm["id"] == made]
    assert kept["state"] == "Destroyed"
    # None of our volumes is left, on that machine or anywhere.
    assert {volume["id"] for volume in state["volumes"] if volume["virtualmachineid"] != made} == before
    ours = {tag["resourceid"] for tag in state["tags"] if tag["key"] == "migratekit"}
    assert not [v["id"] for v in state["volumes"] if v["virtualmachineid"] == made and v["id"] in ours]
    again = report(lab, "cleanup", VM)
    assert (again["failovers"], again["kept_machines"]) == ([], [])


def test_a_failover_is_taken_back_and_done_again_where_the_account_may_not_expunge(lab: Lab) -> None:
    report(lab, "replicate", VM)
    lab.cloud.settings(allow_user_expunge=False)
    first = report(lab, "failover", VM, "--yes")["destination_vm_id"]
    back = report(lab, "rollback", VM, "--yes")
    assert (back["destination_vm_id"], back["machine_kept"]) == (first, True)
    assert lab.vcenter.vm(VM)["power"] == "on"
    assert machines(lab, "Destroyed")
    report(lab, "replicate", VM, "--compare")
    # The one that is kept has its addresses still, and that is said before anything is shut down.
    plan = report(lab, "failover", VM, "--dry-run")
    assert [check["state"] for check in plan["checks"] if check["name"] == "addresses"] == ["warning"]
    # It is still said when one was refused for it and given back.
    refused(lab, run(lab, "failover", VM, "--yes"), 4, ErrorCode.ADDRESS_REFUSED)
    assert lab.vcenter.vm(VM)["power"] == "on"
    plan = report(lab, "failover", VM, "--dry-run")
    assert [first in check["detail"] for check in plan["checks"] if check["name"] == "addresses"] == [True]
    # The rule as well as the setting, and nothing of it twice.
    lab.cloud.account(deny=("expungeVirtualMachine",))
    plan = report(lab, "failover", VM, "--dry-run")
    lab.cloud.account()
    assert [check["name"] for check in plan["checks"] if "xpungeVirtualMachine" in check["detail"]] == ["expunging"]
    done = run(lab, "assess", VM, "--permissions", "--target", "--output", "json")
    assert done.returncode == 3, done.stderr
    lacking = {each["command"]: each["cloudstack"] for each in json.loads(done.stdout)["commands"]}
    assert lacking["cleanup"] == lacking["rollback"] == [SETTING]
    assert lacking["volume daemon"] == []
    second = report(lab, "failover", VM, "--yes", **NO_ADDRESSES)["destination_vm_id"]
    assert second != first
    assert lab.cloud.machine(VM) is not None, "its name was free"
    lab.cloud.default_settings()
    assert report(lab, "rollback", VM, "--yes")["machine_kept"] is False
    report(lab, "replicate", VM, "--compare")


def test_a_machine_is_stopped_normally_first(lab: Lab) -> None:
    report(lab, "failover", VM, "--yes", **NO_ADDRESSES)
    lab.cloud.http.delete("/lab/calls").raise_for_status()
    lab.cloud.fault(command="stopVirtualMachine", mode="job-fails")
    report(lab, "rollback", VM, "--yes")
    asked = [event["params"].get("forced") for event in api_calls(lab, "stopVirtualMachine")]
    assert asked == [None, "true"], "by force only where it did not stop otherwise"
    report(lab, "replicate", VM, "--compare")


def test_pages_are_as_long_as_the_server_allows_and_calls_as_many(lab: Lab) -> None:
    """More of ours than fit on a page; each list is whole all the same."""
    many = lab.cloud.volumes(23, "page", {"migratekit": "page-owner"})
    try:
        lab.cloud.settings(default_page_size=5)
        listed = {volume["id"] for volume in report(lab, "volumes", "list")["volumes"]}
        assert set(many) <= listed
        lab.cloud.settings(throttle_calls=8, throttle_seconds=2.0)
        assert {volume["id"] for volume in report(lab, "volumes", "list")["volumes"]} == listed
        report(lab, "replicate", VM)
        doctor = report(lab, "doctor", "--topic", "cloudstack")
        assert not [line for line in doctor["lines"] if line["status"] == "failed"]
    finally:
        lab.cloud.default_settings()
        for volume in many:
            lab.cloud.api().deleteVolume(id=volume)


def test_a_role_without_list_tags_reads_whole_lists(lab: Lab) -> None:
    """As the role of an installation of the last release is."""
    listed = {volume["id"] for volume in report(lab, "volumes", "list")["volumes"]}
    assert listed
    lab.cloud.account(deny=("listTags", "listVMSnapshot", "expungeVirtualMachine"))
    assert {volume["id"] for volume in report(lab, "volumes", "list")["volumes"]} == listed
    report(lab, "replicate", VM)
    warned = {
        line["found"] for line in report(lab, "doctor", "--topic", "daemon")["lines"] if line["status"] == "warning"
    }
    assert warned == {"not known: the daemon's role may not list VM snapshots"}


def test_a_restart_in_the_middle_of_a_command_is_outlived(lab: Lab) -> None:
    # Something for the daemon to change: the volumes are attached, and so no call would be made.
    let_go(lab)
    for command in ("replicate", "test-failover", "cleanup"):
        with restarted(lab):
            report(lab, command, VM)
    assert [name for name in machines(lab) if name not in machines(lab, "Destroyed")] == []
    assert lab.cloud.state()["snapshots"] == []


def test_a_machine_whose_deployment_a_restart_has_ended_is_not_used(lab: Lab) -> None:
    """It is Stopped, and later in Error (recorded): with our root disk on it nothing could be taken off it any more."""
    report(lab, "replicate", VM)
    lab.cloud.http.delete("/lab/calls").raise_for_status()
    lab.cloud.fault(command="deployVirtualMachine", mode="slow", seconds=4.0)
    before = set(machines(lab))

    def restart() -> None:
        eventually("a machine is being deployed", lambda: api_calls(lab, "deployVirtualMachine"), 60)
        lab.cloud.restart(1.0)

    meanwhile = threading.Thread(target=restart)
    meanwhile.start()
    made = report(lab, "test-failover", VM)["destination_vm_id"]
    meanwhile.join()
    assert len(api_calls(lab, "deployVirtualMachine")) == 2
    assert [found for found in machines(lab) if found not in before] == [made], "the other one is gone"
    report(lab, "cleanup", VM)


def test_vm_snapshots_of_the_oma_are_told_before_anything_is_made(lab: Lab) -> None:
    oma = oma_of(lab)
    # One of the volumes of the next sync would have to be attached.
    let_go(lab)
    lab.cloud.api().createVMSnapshot(virtualmachineid=oma["id"])
    try:
        before = lab.cloud.state()["volumes"]
        assert lab.oma_problem() == "vm-has-snapshots"
        for arguments, code in (
            (("replicate", VM, "--dry-run"), ErrorCode.VM_HAS_SNAPSHOTS),
            (("replicate", VM), ErrorCode.VM_HAS_SNAPSHOTS),
            (("test-failover", VM), ErrorCode.PREFLIGHT_FAILED),
        ):
            said = refused(lab, run(lab, *arguments), 4, code)
            assert "VM snapshot" in said
        assert lab.cloud.state()["volumes"] == before
        assert lab.vcenter.vm(VM)["snapshots"] == []
        lines = report_of_doctor(lab)
        assert [line["exit_code"] for line in lines if line["check"] == "daemon.oma"] == [4]
    finally:
        (found,) = lab.cloud.api().listVMSnapshot()["vmSnapshot"]
        lab.cloud.api().deleteVMSnapshot(vmsnapshotid=found["id"])
    report(lab, "replicate", VM)


@pytest.mark.parametrize(
    ("settings", "account", "exit_code", "code"),
    [
        ({"custom_disk_max": 2}, {}, 4, ErrorCode.OFFERING_UNFIT),
        ({}, {"limits": {"volume": 1}}, 4, ErrorCode.QUOTA),
        ({}, {"limits": {"primary_storage": 3}}, 4, ErrorCode.QUOTA),
        ({}, {"deny": ("createVolume",)}, 5, ErrorCode.NOT_ALLOWED),
    ],
)
def test_what_no_volume_can_be_made_of_is_refused_before_the_first_is_made(
    lab: Lab, settings: dict[str, int], account: dict[str, Any], exit_code: int, code: ErrorCode
) -> None:
    """The first of the machine's disks could be made each time, the second could not."""
    if "limits" in account:
        # What other tests have left counts, too.
        there = lab.cloud.state()["volumes"]
        used = {"volume": len(there), "primary_storage": sum(volume["size"] for volume in there) // GIB}
        account = {"limits": {kind: limit + used[kind] for kind, limit in account["limits"].items()}}
    lab.cloud.settings(**settings)
    lab.cloud.account(**account)
    before = lab.cloud.state()["volumes"]
    for dry in (("--dry-run",), ()):
        refused(lab, run(lab, "replicate", "hard02", *dry), exit_code, code)
        assert lab.cloud.state()["volumes"] == before
    assert lab.vcenter.vm("hard02")["snapshots"] == []


def test_what_a_role_may_not_read_keeps_nobody_from_a_sync(lab: Lab) -> None:
    lab.cloud.account(deny=("listAccounts", "listCapabilities", "listApis"))
    assert report(lab, "replicate", "hard02", "--dry-run")["kind"] == "full"


def test_a_backup_offering_of_the_oma_is_warned_of_before_a_failover(lab: Lab) -> None:
    lab.cloud.backup_offering("oma01")
    try:
        plan = report(lab, "failover", VM, "--dry-run")
    finally:
        lab.cloud.backup_offering("oma01", on=False)
    (told,) = [check for check in plan["checks"] if check["state"] == "warning" and check["name"] == "OMA's disks"]
    assert "backup.enable.attach.detach.of.volumes" in told["todo"]


def test_doctor_looks_at_what_the_daemon_calls_where_its_account_is_ours(lab: Lab) -> None:
    lab.cloud.account(deny=("createVolume",))
    done = run(lab, "doctor", "--topic", "cloudstack", "--output", "json")
    lab.cloud.account()
    assert done.returncode == 5, done.stderr
    lines = json.loads(done.stdout)["lines"]
    assert [line["found"] for line in lines if line["status"] == "failed"] == [
        "volume daemon may not call createVolume"
    ]


def report_of_doctor(lab: Lab) -> list[dict[str, Any]]:
    done = run(lab, "doctor", "--topic", "daemon", "--output", "json")
    assert done.returncode == 4, done.stderr
    lines: list[dict[str, Any]] = json.loads(done.stdout)["lines"]
    return lines


def test_a_failover_is_taken_back_also_where_the_oma_takes_no_disk(lab: Lab) -> None:
    report(lab, "replicate", VM)
    report(lab, "failover", VM, "--yes", **NO_ADDRESSES)
    oma = oma_of(lab)
    lab.cloud.api().createVMSnapshot(virtualmachineid=oma["id"])
    try:
        back = report(lab, "rollback", VM, "--yes")
        assert back["source"] == "started"
        assert lab.vcenter.vm(VM)["power"] == "on"
    finally:
        (found,) = lab.cloud.api().listVMSnapshot()["vmSnapshot"]
        lab.cloud.api().deleteVMSnapshot(vmsnapshotid=found["id"])
    # What was left detached is attached by the next sync.
    report(lab, "replicate", VM, "--compare")


def test_doctor_does_not_wait_for_a_server_that_is_away(lab: Lab) -> None:
    lab.cloud.restart(8.0)
    done = run(lab, "doctor", "--topic", "cloudstack", "--output", "json")
    assert done.returncode == 6, done.stdout
    wait_for_the_server(lab)


def wait_for_the_server(lab: Lab) -> None:
    ended = threading.Event()
    for _ in range(300):
        try:
            lab.cloud.api().listZones()
            return
        except Exception:
            ended.wait(0.2)
    pytest.fail("the server did not come back")
