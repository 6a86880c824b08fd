"""`assess` over the estate: every machine's trait is found, and nothing else is said about it."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from pyVmomi import vmodl

from migratekit_core.services.assessment.commands import VSPHERE
from tests.integration import estate
from tests.integration.estate_fixture import Estate, logged_in
from tests.lab.parts.process import LabError


@pytest.fixture(scope="module")
def found(source: Estate) -> dict[str, set[str]]:
    """Return the rules hit on each machine, by its inventory path; all machines are named, also templates."""
    rules: defaultdict[str, set[str]] = defaultdict(set)
    paths = [estate.path_of(odd) for odd in estate.MACHINES]
    for finding in source.report(*paths)["findings"]:
        rules[finding["vm_path"]].add(finding["rule"])
    return rules


@pytest.mark.parametrize("odd", estate.MACHINES, ids=lambda odd: odd.name)
def test_each_machine_is_found_with_its_trait_and_no_other(found: dict[str, set[str]], odd: estate.Odd) -> None:
    assert found.get(estate.path_of(odd), set()) == set(odd.rules)


READS = {
    "RetrieveServiceContent",
    "Login",
    "Logout",
    "CreateContainerView",
    "DestroyView",
    "RetrieveProperties",
    "RetrievePropertiesEx",
    "ContinueRetrievePropertiesEx",
    "CancelRetrievePropertiesEx",
    "HasPrivilegeOnEntities",
    "CurrentTime",
    "Fetch",
}


def test_all_of_the_estate_is_assessed_at_once_with_reads_alone(source: Estate) -> None:
    source.vcenter.http.delete("/lab/calls").raise_for_status()
    done = source.run("assess", "--all", "-o", "json")
    assert done.returncode == 3, done.stderr
    report = json.loads(done.stdout)
    left_out = {"gold", "agent"}
    assert report["summary"]["machines"] == len(estate.MACHINES) - len(left_out) >= 60
    calls = source.vcenter.http.get("/lab/calls").json()["calls"]
    assert set(calls) <= READS
    # No call for each machine.
    assert sum(calls.values()) < 40


def test_each_privilege_that_is_missing_is_named_with_the_commands_that_need_it(source: Estate) -> None:
    plain = source.vcenter.vm("plain")["id"]
    source.vcenter.deny("VirtualMachine.State.CreateSnapshot")
    source.vcenter.deny("VirtualMachine.Interact.PowerOff", on=plain)
    source.vcenter.deny("Datastore.FileManagement")
    try:
        report = source.report("plain", "uefi")
    finally:
        source.vcenter.allow()
    lacking = {found["subject"]: found["message"] for found in report["findings"] if found["rule"] == "MK-PERM-001"}
    assert set(lacking) == {
        "VirtualMachine.State.CreateSnapshot on machine",
        "VirtualMachine.Interact.PowerOff on machine",
        "Datastore.FileManagement on datastore",
        "Datastore.FileManagement on datacenter",
    }
    snapshot = lacking["VirtualMachine.State.CreateSnapshot on machine"]
    assert snapshot.startswith("replicate, verify, failover need ")
    assert "2 of 2 machines" in snapshot
    power = lacking["VirtualMachine.Interact.PowerOff on machine"]
    assert power.startswith("failover need ")
    assert "1 of 2 machines: /DC0/vm/estate/plain" in power
    assert "MK-PERM-001" not in {found["rule"] for found in source.report("plain")["findings"]}


def test_permissions_are_told_command_by_command(source: Estate) -> None:
    source.vcenter.deny("VirtualMachine.Provisioning.DiskRandomRead")
    try:
        done = source.run("assess", "plain", "uefi", "--permissions", "-o", "json")
    finally:
        source.vcenter.allow()
    assert done.returncode == 3, done.stderr
    found = {each["command"]: each for each in json.loads(done.stdout)["commands"]}
    lacking = ["VirtualMachine.Provisioning.DiskRandomRead (2 of 2 machines)"]
    assert {name for name, each in found.items() if each["vsphere"] == lacking} == {"replicate", "verify", "failover"}
    assert found["rollback"]["vsphere"] == []
    assert found["cleanup"]["vsphere"] is None
    assert found["cleanup"]["not_checked"] == ["the target was not asked (--target)"]


def test_what_machines_write_is_asked_of_vcenter_with_reads_alone(source: Estate) -> None:
    source.vcenter.http.delete("/lab/calls").raise_for_status()
    report = source.report("plain", "off", "--measure-changes", "60", "--bandwidth", "100Mbit/s")
    assert set(source.vcenter.http.get("/lab/calls").json()["calls"]) <= READS | {"QueryPerf"}
    on, off = report["sizing"]["machines"]
    assert (on["vm"], off["vm"]) == ("plain", "off")
    assert on["changed_per_second"] > 0
    assert off["changed_per_second"] == 0
    assert report["sizing"]["measured"] == 2
    assert on["downtime_seconds"] > off["downtime_seconds"] == 120


def test_an_earlier_discover_gives_the_same_findings_offline(source: Estate) -> None:
    inventory = source.folder / "inventory.json"
    done = source.run("discover", "--output", "json")
    assert done.returncode == 0, done.stderr
    inventory.write_text(done.stdout)
    live, offline = source.report("--all"), source.report("--all", "--offline", str(inventory))
    assert live["findings"] == offline["findings"]
    assert "MK-PERM-001" in {each["rule"] for each in offline["not_checked"]}


def test_vsphere_that_cannot_tell_privileges_is_said_and_the_rest_assessed(source: Estate) -> None:
    source.vcenter.fault(method="HasPrivilegeOnEntities", fault="NotSupported")
    try:
        report = source.report("plain")
    finally:
        source.vcenter.clear_faults()
    reasons = {each["rule"]: each["reason"] for each in report["not_checked"]}
    assert reasons["MK-PERM-001"].startswith("vSphere did not answer")
    assert {found["rule"] for found in report["findings"]} == set(estate.ALWAYS)


def test_vcenter_knows_every_privilege_of_the_role(source: Estate) -> None:
    known = {"System.Anonymous", "System.View", "System.Read"}
    wanted = {privilege.id for privileges in VSPHERE.values() for privilege in privileges}
    with logged_in(source.vcenter) as service:
        manager = service.RetrieveContent().authorizationManager
        with pytest.raises(vmodl.fault.InvalidArgument):
            manager.AddAuthorizationRole(name="Wrong", privIds=["VirtualMachine.State.TakeSnapshot"])
        role = manager.AddAuthorizationRole(name="MigrateKit", privIds=sorted(wanted | known))
        (made,) = [each for each in manager.roleList if each.name == "MigrateKit"]
        assert set(made.privilege) == wanted | known
        manager.RemoveAuthorizationRole(roleId=role, failIfUsed=False)


@pytest.mark.parametrize(
    "wrong", [{"runtime.nothing": 1}, {"runtime.powerState": {}}, {"config.hardware.device[x]": {}}]
)
def test_the_simulator_refuses_properties_that_there_are_not(source: Estate, wrong: dict[str, object]) -> None:
    with pytest.raises(LabError, match="400"):
        source.vcenter.properties("VirtualMachine", source.vcenter.vm("plain")["id"], wrong)
