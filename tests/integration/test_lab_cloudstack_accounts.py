"""The double's accounts, roles and projects: who sees and may use what, and what a stranger is told.

As recorded in tests/data/cloudstack-4.22: names with `user`, `domain_admin`, `project`, `not_allowed`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cs import CloudStack

from tests.integration.cloud_double import OTHER, PLAIN, PLAIN2, Double, Ids, blank, deploy, find_ids, refused, running
from tests.integration.support import eventually

NO_PERMISSION = "Caller does not have permission to operate with provided resource."
HIDDEN = "Internal error executing command, please contact your system administrator"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("accounts"), "--job-seconds", "0.01") as double:
        yield double


@pytest.fixture
def double(shared: Double) -> Iterator[Double]:
    yield shared
    shared.control("DELETE", "/lab/faults")
    shared.control("DELETE", "/lab/settings")


@pytest.fixture
def user(double: Double) -> CloudStack:
    return double.api(PLAIN)


@pytest.fixture
def other(double: Double) -> CloudStack:
    return double.api(OTHER)


@pytest.fixture(scope="module")
def ids(shared: Double) -> Ids:
    return find_ids(shared)


def test_a_role_that_lacks_an_api(user: CloudStack) -> None:
    for command in ("listHosts", "listStoragePools", "listHypervisorCapabilities", "listDomains"):
        error = refused(432, getattr(user, command))
        assert error["cserrorcode"] == 9999
        begin, _, end = error["errortext"].partition("user id [")
        assert begin == f"The API [{command}] does not exist or is not available for the account for "
        assert end != refused(432, getattr(user, command))["errortext"].partition("user id [")[2]  # nobody's id
        assert command not in {api["name"] for api in user.listApis()["api"]}


def test_capabilities_are_those_of_the_caller(double: Double, user: CloudStack) -> None:
    def told(api: CloudStack, name: str) -> bool:
        found: bool = api.listCapabilities()["capability"][name]
        return found

    for setting in (True, False):
        double.settings(allow_user_expunge=setting, kvm_snapshot=setting)
        assert told(user, "allowuserexpungerecovervm") is setting
        assert told(user, "kvmsnapshotenabled") is setting
        assert told(double.api(), "allowuserexpungerecovervm")


def test_plain_runtime_errors_are_told_to_root_administrators_and_by_jobs_only(
    double: Double, user: CloudStack, ids: Ids
) -> None:
    wrong = {"zoneid": ids.zone, "serviceofferingid": ids.small, "networkids": ids.test, "name": "without-template"}
    error = refused(530, user.deployVirtualMachine, in_job=False, **wrong)
    assert (error["errortext"], error["cserrorcode"]) == (HIDDEN, 4250)
    assert "template" in refused(530, double.api().deployVirtualMachine, in_job=False, **wrong)["errortext"]
    machine = deploy(user, ids, "rootless", startvm=False)["id"]
    user.detachVolume(id=user.listVolumes(virtualmachineid=machine)["volume"][0]["id"])
    assert refused(530, user.startVirtualMachine, in_job=True, id=machine)["errortext"] != HIDDEN
    user.destroyVirtualMachine(id=machine, expunge=True)


def test_what_another_account_has(double: Double, user: CloudStack, other: CloudStack, ids: Ids) -> None:
    volume, machine = blank(user, ids)["id"], deploy(user, ids, "mine", startvm=False)["id"]
    mine = blank(other, ids)["id"]
    for empty in (other.listVolumes(id=volume), other.listVirtualMachines(id=machine), other.listVolumes(ids=volume)):
        assert empty == {}
    calls = (
        (other.attachVolume, {"id": volume, "virtualmachineid": machine}),
        (other.attachVolume, {"id": mine, "virtualmachineid": machine}),
        (other.createSnapshot, {"volumeid": volume}),
        (other.startVirtualMachine, {"id": machine}),
        (other.stopVirtualMachine, {"id": machine}),
        (other.destroyVirtualMachine, {"id": machine}),
        (other.deleteVolume, {"id": volume}),
        (other.updateVirtualMachine, {"id": machine, "displayname": "x"}),
    )
    for call, parameters in calls:
        error = refused(531, call, in_job=False, **parameters)
        assert (error["errortext"], error["cserrorcode"]) == (NO_PERMISSION, 4365)
    tag = {"resourceids": volume, "resourcetype": "Volume", "tags": [{"key": "a", "value": "b"}]}
    for call, parameters in ((other.detachVolume, {"id": volume}), (other.createTags, tag)):
        assert refused(530, call, in_job=True, **parameters)["errortext"] == NO_PERMISSION
    error = refused(530, double.api().attachVolume, in_job=True, id=mine, virtualmachineid=machine)
    assert error["errortext"].startswith("Entity VM instance {")
    assert error["errortext"].endswith("} belong to different accounts")
    assert user.listVolumes(id=volume)["volume"][0]["account"] == "plain"
    double.api().deleteVolume(id=mine)
    user.destroyVirtualMachine(id=machine, expunge=True)
    user.deleteVolume(id=volume)


def test_lists_of_another_account(double: Double, user: CloudStack, ids: Ids) -> None:
    volume = blank(user, ids)["id"]
    domain = user.listVolumes(id=volume)["volume"][0]["domainid"]
    for wider in ({"listall": True}, {"isrecursive": True}, {"domainid": domain}, {"account": "plain"}):
        assert {one["account"] for one in user.listVolumes(**wider)["volume"]} == {"plain"}
    assert refused(531, user.listVolumes, account="other", domainid=domain)["errortext"] == NO_PERMISSION
    admin = double.api()
    assert volume not in {one["id"] for one in admin.listVolumes().get("volume", [])}
    assert admin.listVolumes(id=volume)["count"] == 1
    assert volume in {one["id"] for one in admin.listVolumes(listall=True)["volume"]}
    assert volume in {one["id"] for one in admin.listVolumes(account="plain", domainid=domain)["volume"]}
    made = admin.createVolume(name="given", diskofferingid=ids.disk, size=1, zoneid=ids.zone, account="plain",
                              domainid=domain)["volume"]  # fmt: skip
    assert made["account"] == "plain"
    error = refused(431, admin.createVolume, diskofferingid=ids.disk, size=1, zoneid=ids.zone, account="plain")
    assert error["errortext"] == "Account must be specified with domainId parameter"
    wish = {"diskofferingid": ids.disk, "size": 1, "zoneid": ids.zone, "account": "other", "domainid": domain}
    assert refused(531, user.createVolume, **wish)["errortext"] == NO_PERMISSION
    for one in (volume, made["id"]):
        user.deleteVolume(id=one)


def test_jobs_belong_to_the_calling_account(double: Double, user: CloudStack, other: CloudStack, ids: Ids) -> None:
    started = double.api(PLAIN, fetch_result=False)
    made = started.createVolume(name="job", diskofferingid=ids.disk, size=1, zoneid=ids.zone)
    error = refused(531, double.api(OTHER, fetch_result=False).queryAsyncJobResult, jobid=made["jobid"])
    assert error["errortext"].startswith("Account Account [{")
    assert "is not authorized to see job id=" in error["errortext"]
    again = refused(531, double.api(OTHER, fetch_result=False).queryAsyncJobResult, jobid=made["jobid"])
    assert again["errortext"] != error["errortext"]  # the account's id in it is nobody's
    for allowed in (PLAIN, PLAIN2, 0):  # its user, another user of the account, the root administrator
        asked = double.api(allowed, fetch_result=False).queryAsyncJobResult
        eventually("the job ends", lambda asked=asked: asked(jobid=made["jobid"])["jobstatus"] == 1, 10)
    assert double.api(PLAIN2).listVolumes(id=made["id"])["count"] == 1  # the second user has what the first one has
    double.api(PLAIN2).deleteVolume(id=made["id"])


def test_projects(double: Double, user: CloudStack, other: CloudStack, ids: Ids) -> None:
    ours = next(one["id"] for one in user.listProjects()["project"] if one["name"] == "ours")
    assert [one["name"] for one in other.listProjects()["project"]] == ["shared"]
    in_project = user.createVolume(name="in-project", diskofferingid=ids.disk, size=1, zoneid=ids.zone, projectid=ours)[
        "volume"
    ]
    assert (in_project["project"], in_project["projectid"]) == ("ours", ours)
    assert "account" not in in_project
    own = blank(user, ids)["id"]
    user.createTags(resourceids=in_project["id"], resourcetype="Volume", tags=[{"key": "k", "value": "v"}])
    tag = {"tags": [{"key": "k", "value": "v"}]}
    for wish in ({}, {"id": in_project["id"]}, tag, {"listall": True}):
        assert in_project["id"] not in {one["id"] for one in user.listVolumes(**wish).get("volume", [])}
    for wish in ({"projectid": ours}, {"projectid": -1}, {"projectid": -1, "id": in_project["id"]}):
        assert [one["id"] for one in user.listVolumes(**wish)["volume"]] == [in_project["id"]]
    assert user.listVolumes(projectid=ours, **tag)["count"] == 1
    assert {in_project["id"], own} <= {one["id"] for one in user.listVolumes(projectid=-1, listall=True)["volume"]}
    assert user.listTags(key="k") == {}
    assert user.listTags(key="k", projectid=-1)["tag"][0]["project"] == "ours"
    assert user.listResourceLimits(projectid=ours)["resourcelimit"][0]["account"] == "plain"
    error = refused(431, user.listVolumes, projectid=ours, account="plain")
    assert error["errortext"] == "Account and projectId can't be specified together"
    for call in (other.listVolumes, other.createVolume):
        error = refused(432, call, projectid=ours)
        assert error["errortext"].endswith(f"is not available for this account/user in project [{ours}].")
    refused(431, user.listVolumes, projectid="11111111-2222-3333-4444-555555555555")
    status, error = double.ask("listVolumes", PLAIN, projectid="")
    assert (status, error["cserrorcode"]) == (431, 9999)
    refused(531, other.deleteVolume, id=in_project["id"])
    assert other.listVolumes(projectid=-1) == {}
    user.deleteVolume(id=in_project["id"])
    user.deleteVolume(id=own)


def test_machines_of_projects(double: Double, user: CloudStack, ids: Ids) -> None:
    ours = next(one["id"] for one in user.listProjects()["project"] if one["name"] == "ours")
    machine = deploy(user, ids, "of-project", projectid=ours, startvm=False)
    assert machine["project"] == "ours" and "account" not in machine
    outside = deploy(user, ids, "of-account", startvm=False)
    assert outside["account"] == "plain"
    assert user.listVirtualMachines(id=machine["id"]) == {}
    assert user.listVirtualMachines(id=machine["id"], projectid=ours)["count"] == 1
    own = blank(user, ids)["id"]
    error = refused(530, user.attachVolume, in_job=True, id=own, virtualmachineid=machine["id"])
    assert error["errortext"].endswith("belong to different accounts")
    theirs = user.createVolume(diskofferingid=ids.disk, size=1, zoneid=ids.zone, projectid=ours)["volume"]["id"]
    user.attachVolume(id=theirs, virtualmachineid=machine["id"])  # actions by id need no projectid
    refused(530, user.attachVolume, in_job=True, id=own, virtualmachineid=machine["id"])
    double.control("POST", "/lab/project", name="ours", state="Suspended")
    wish = {"diskofferingid": ids.disk, "size": 1, "zoneid": ids.zone, "projectid": ours}
    assert "state=Suspended" in refused(531, user.createVolume, **wish)["errortext"]
    assert "is disabled" in refused(530, user.startVirtualMachine, in_job=True, id=machine["id"])["errortext"]
    user.detachVolume(id=theirs)
    double.control("POST", "/lab/project", name="ours")
    user.startVirtualMachine(id=machine["id"])
    for volume in (own, theirs):
        user.deleteVolume(id=volume)
    for one in (machine, outside):
        user.destroyVirtualMachine(id=one["id"], expunge=True)


def test_a_volume_of_a_projects_snapshot_belongs_to_the_account(user: CloudStack, ids: Ids) -> None:
    ours = next(one["id"] for one in user.listProjects()["project"] if one["name"] == "ours")
    machine = deploy(user, ids, "source", projectid=ours)["id"]
    root = user.listVolumes(virtualmachineid=machine, projectid=ours)["volume"][0]["id"]
    snapshot = user.createSnapshot(volumeid=root)["snapshot"]
    assert snapshot["project"] == "ours"
    copy = user.createVolume(snapshotid=snapshot["id"], zoneid=ids.zone)["volume"]
    assert copy["account"] == "plain"
    error = refused(530, user.createVolume, in_job=True, name="left", snapshotid=snapshot["id"],
                    virtualmachineid=machine)  # fmt: skip
    assert error["errortext"].startswith("Failed to create volume: Volume {")
    left = user.listVolumes(name="left")["volume"][0]
    assert (left["state"], left["destroyed"]) == ("Destroy", True)
    user.deleteSnapshot(id=snapshot["id"])
    user.deleteVolume(id=copy["id"])
    user.destroyVirtualMachine(id=machine, expunge=True)
