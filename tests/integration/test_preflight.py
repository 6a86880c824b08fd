"""The preflight tells every reason at once, the plan says what would be done, and the new machine is what was said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from migratekit_core.common.codes import ErrorCode
from tests.integration.support import refused, report, run, sql
from tests.lab.lab import Lab

# A machine is looked at, and failed over in the end.
pytestmark = pytest.mark.story

VM = "deploy01"
DEBIAN = "Debian GNU/Linux 12 (64-bit)"


@pytest.fixture
def account(lab: Lab) -> Iterator[Any]:
    """The account of the lab's CloudStack; what a test takes from it, and from vCenter's, is given back."""
    yield lab.cloud.account
    lab.cloud.account()
    lab.vcenter.allow()


def plan_of(lab: Lab, *arguments: str, code: int = 0, **extra: str) -> dict[str, Any]:
    import json

    done = run(lab, *arguments, "--dry-run", "--output", "json", **extra)
    assert done.returncode == code, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def states(plan: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in plan["checks"]:
        found.setdefault(check["state"], []).append(f"{check['name']}: {check['detail']}")
    return found


def test_every_reason_is_told_at_once(lab: Lab, account: Any) -> None:
    account(limits={"cpu": 2, "memory": 4096, "user_vm": 1}, deny=("startVirtualMachine",))
    lab.vcenter.deny("VirtualMachine.Interact.PowerOff")
    before = len(lab.cloud.state()["events"])
    changes = {
        "MIGRATEKIT_OSSEA__TEMPLATE": "no-such-template",
        "MIGRATEKIT_OSSEA__SERVICE_OFFERING": "Small Instance",
        "MIGRATEKIT_NETWORKS__MAP": '{ DC0_DVPG0 = "guest-pord" }',
    }
    done = run(lab, "failover", "refused01", "--yes", "--output", "json", **changes)
    plan = plan_of(lab, "failover", "refused01", code=4, **changes)
    expected = (
        "VMware Tools are not running, so its guest cannot be shut down (--power-off allows it)",
        "it was never replicated (run: migratekit replicate refused01)",
        "CloudStack has no network 'guest-pord' (for DC0_DVPG0)",
        "network 'DC0_DVPG1' of Network adapter 2 is not mapped",
        "service offering 'Small Instance' has 1 CPUs, the machine 2",
        "ossea.template = 'no-such-template' does not exist",
        "machines: 1 needed, 0 left of 1",
        "CPUs: 2 needed, 0 left of 2",
        "MiB of memory: 512 needed, 0 left of 4096",
        "the role may not call startVirtualMachine",
        "the account lacks VirtualMachine.Interact.PowerOff",
    )
    assert done.returncode == 4
    assert done.stdout == ""
    told = [line for line in done.stderr.splitlines() if line.startswith("     - ")]
    for reason in expected:
        assert any(reason in line for line in told), (reason, done.stderr)
    assert len(told) == len(expected)
    assert f"  why: {len(expected)} things stand in the way" in done.stderr
    assert not plan["ready"]
    failed = states(plan)["failed"]
    assert len(failed) == len(expected)
    # What is fine is told as well, and nothing was changed to find out.
    fine = " ".join(states(plan)["ok"])
    for name in ("tunnel", "OMA", "zone", "OMA machine", "guest", "name"):
        assert f"{name}: " in fine
    changed = [event["command"] for event in lab.cloud.state()["events"] if event["n"] > before]
    assert all(command.startswith(("list", "query")) for command in changed)
    assert sql(lab, "SELECT * FROM failover_jobs WHERE vm_id IN (SELECT source_vm_id FROM replication_jobs "
                    "WHERE source_vm_name = 'refused01')") == []  # fmt: skip


def test_a_rehearsal_without_a_replica_is_refused_with_every_reason(lab: Lab) -> None:
    done = run(lab, "test-failover", "refused01", MIGRATEKIT_NETWORKS__TEST="nowhere")
    assert done.returncode == 4
    assert "it was never replicated" in done.stderr
    assert "CloudStack has no network 'nowhere'" in done.stderr


@pytest.fixture(scope="module")
def replicated(shared_lab: Lab) -> dict[str, Any]:
    """The machine, replicated twice: a rate of change is known then."""
    secure = {"_typeName": "VirtualMachineBootOptions", "efiSecureBootEnabled": True}
    moref = shared_lab.vcenter.vm(VM)["id"]
    shared_lab.vcenter.properties("VirtualMachine", moref, {"config.bootOptions": secure})
    report(shared_lab, "replicate", VM)
    shared_lab.vcenter.write(VM, 0, 0, b"x" * (1 << 20))
    return report(shared_lab, "replicate", VM)


def test_the_plan_says_what_would_be_done_and_what_it_rests_on(lab: Lab, replicated: dict[str, Any]) -> None:
    plan = plan_of(lab, "failover", VM)
    assert plan["ready"]
    assert plan["networks"] == {"VM Network": "guest-prod"}
    machine = "\n".join(plan["machine"])
    assert "offering Custom Instance with 2 CPUs and 1024 MiB" in machine
    assert f"OS type {DEBIAN}; UEFI with secure boot; disks virtio, cards virtio" in machine
    assert "Network adapter 1 → guest-prod, MAC 00:50:56:00:00:77, address 10.1.1.77" in machine
    assert [" ".join(call.split()[:2]) for call in plan["calls"]] == [
        "deployVirtualMachine template", "createTags UserVm", "updateVirtualMachine ostypeid", "daemon: detach",
        "daemon: make", "vSphere: ShutdownGuest", "vSphere: CreateSnapshot_Task,", "daemon: detach", "daemon: attach",
        "daemon: attach", "daemon: attach", "startVirtualMachine",
    ]  # fmt: skip
    outlook = plan["outlook"]
    assert outlook["total"] == pytest.approx(outlook["shutdown"] + outlook["final_sync"] + outlook["rest"])
    assert outlook["changed_per_second"] > 0
    basis = " ".join(outlook["basis"])
    assert "measured over 2 syncs" in basis
    assert "have changed since the last sync" in basis
    people = run(lab, "failover", VM, "--dry-run").stdout
    assert "expected downtime " in people
    assert lab.cloud.machine(VM) is None


def test_of_what_was_never_measured_nothing_is_made_up(lab: Lab, replicated: dict[str, Any]) -> None:
    plan = plan_of(lab, "failover", "refused01", code=4)
    assert plan["outlook"]["total"] is None
    assert any("cannot be foretold" in sentence for sentence in plan["outlook"]["basis"])


def test_an_old_sync_is_a_reason(lab: Lab, replicated: dict[str, Any]) -> None:
    text = refused(
        lab, run(lab, "failover", VM, "--yes", MIGRATEKIT_FAILOVER__MAX_SYNC_AGE="0.001"), 4, ErrorCode.PREFLIGHT_FAILED
    )
    assert "old; at most 0.0 s are allowed (failover.max_sync_age)" in text


def test_a_rehearsal_and_a_failover_make_the_machine_that_was_said(lab: Lab, replicated: dict[str, Any]) -> None:
    rehearsed = report(lab, "test-failover", VM)
    vm = lab.cloud.machine(rehearsed["destination_name"])
    assert vm is not None
    assert [nic["networkid"] for nic in vm["nics"]] == [network(lab, "migration-test")]
    assert vm["nics"][0]["macaddress"] != "00:50:56:00:00:77"
    assert os_type(lab, vm) == DEBIAN
    assert tags(lab, vm["id"])["migratekit-kind"] == "test"
    for made in (*rehearsed["volume_ids"], *rehearsed["snapshot_ids"]):
        assert tags(lab, made)["migratekit"] == lab_uuid(lab)
    report(lab, "cleanup", VM)

    done = report(lab, "failover", VM, "--yes")
    vm = lab.cloud.machine(VM)
    assert vm is not None
    assert (vm["state"], os_type(lab, vm)) == ("Running", DEBIAN)
    (nic,) = vm["nics"]
    assert (nic["macaddress"], nic["ipaddress"]) == ("00:50:56:00:00:77", "10.1.1.77")
    assert vm["details"] == {
        "cpuNumber": "2",
        "memory": "1024",
        "rootDiskController": "virtio",
        "nicAdapter": "virtio",
        "UEFI": "SECURE",
    }
    # The data disks are in the order of the source, and nothing is where the CD-ROM is.
    devices = {volume["id"]: volume["deviceid"] for volume in lab.cloud.state()["volumes"]
               if volume["virtualmachineid"] == vm["id"]}  # fmt: skip
    assert [devices[volume] for volume in done["volume_ids"]] == [0, 1, 2]
    assert tags(lab, vm["id"])["migratekit-kind"] == "live"
    for volume in done["volume_ids"]:
        assert "migratekit" in tags(lab, volume)
    # The template's root disk, which gave way, is gone.
    assert len(devices) == 3


def lab_uuid(lab: Lab) -> str:
    (row,) = sql(lab, "SELECT DISTINCT source_vm_id FROM replication_jobs WHERE source_vm_name = %s", VM)
    return str(row["source_vm_id"])


def network(lab: Lab, name: str) -> str:
    from tests.lab.cloudstack.catalogue import stable_id

    return stable_id("network", name)


def os_type(lab: Lab, vm: dict[str, Any]) -> str:
    from tests.lab.cloudstack.catalogue import row

    return str(row("ostype", vm["ostypeid"])["name"])


def tags(lab: Lab, resource: str) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in lab.cloud.state()["tags"] if tag["resourceid"] == resource}
