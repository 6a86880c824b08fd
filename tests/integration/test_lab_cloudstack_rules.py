"""The double's rules that a setting of the cloud switches: pages, tags, expunging, throttling.

What a real management server answered is in tests/data/cloudstack-4.22; each rule is broken once here.
"""

from __future__ import annotations

import urllib.error
from collections.abc import Iterator

import pytest
from cs import CloudStack, CloudStackApiException

from tests.integration.cloud_double import Double, Ids, blank, deploy, find_ids, refused, root_of, running
from tests.integration.support import eventually

GONE = {"affinitygroup": [], "deleteprotection": False, "nic": [], "securitygroup": [], "tags": []}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("rules"), "--job-seconds", "0.01") as double:
        yield double


@pytest.fixture
def double(shared: Double) -> Iterator[Double]:
    yield shared
    shared.control("DELETE", "/lab/faults")
    shared.control("DELETE", "/lab/settings")
    shared.control("POST", "/lab/account")


@pytest.fixture
def user(double: Double) -> CloudStack:
    return double.api(1)


@pytest.fixture(scope="module")
def ids(shared: Double) -> Ids:
    return find_ids(shared)


def test_a_setting_that_does_not_exist_is_refused(double: Double) -> None:
    for wrong in ({"default_page_sice": 20}, {"default_page_size": "20"}, {"allow_user_expunge": 1}, {"state": "/"}):
        with pytest.raises(urllib.error.HTTPError) as caught:
            double.settings(**wrong)
        assert caught.value.code == 400
    assert double.settings(default_page_size=7)["default_page_size"] == 7
    assert double.control("DELETE", "/lab/settings")["default_page_size"] == 500


def test_page_size(double: Double, ids: Ids) -> None:
    api = double.api()
    double.control("POST", "/lab/volumes", count=7, name="paged")
    double.settings(default_page_size=5)
    cut = api.listVolumes(keyword="paged-")
    assert cut["count"] == 7 and len(cut["volume"]) == 5
    error = refused(431, api.listVolumes, page=1, pagesize=6)
    assert error["errortext"] == "Page size can't exceed max allowed page size value: 5"
    assert error["cserrorcode"] == 4350
    assert len(api.listVolumes(keyword="paged-", page=2, pagesize=5)["volume"]) == 2
    status, error = double.ask("listVolumes", page=1)  # cs would add the other one
    assert (status, error["cserrorcode"]) == (431, 9999)
    assert error["errortext"] == '"pagesize" parameter is required when "page" is specified'
    status, error = double.ask("listVolumes", pagesize=5)
    assert (status, error["cserrorcode"]) == (431, 9999)
    assert error["errortext"] == '"page" parameter is required when "pagesize" is specified'
    refused(431, api.listVolumes, page=1, pagesize=-1)
    assert api.listVolumes(keyword="paged-", page=1, pagesize=0) == {"count": 7}
    assert len(api.listVolumes(keyword="paged-", page=0, pagesize=5)["volume"]) == 5
    assert api.listVolumes(keyword="paged-", page=9, pagesize=5) == {"count": 7}


@pytest.mark.bad_requests
def test_tag_filter(double: Double, ids: Ids) -> None:
    api = double.api()
    first, second = blank(api, ids)["id"], blank(api, ids)["id"]
    for volume, pairs in ((first, {"k1": "v", "k2": "w"}), (second, {"k2": "w"})):
        tags = [{"key": key, "value": value} for key, value in pairs.items()]
        api.createTags(resourceids=volume, resourcetype="Volume", tags=tags)
    for command in (api.listVolumes, api.listVirtualMachines, api.listSnapshots):
        for without in ({"tags[0].key": "k1"}, {"tags[0].key": "k1", "tags[0].value": ""}):
            error = refused(431, command, **without)
            assert (error["errortext"], error["cserrorcode"]) == ("No value is passed in for key k1", 4350)
    either = api.listVolumes(tags=[{"key": "k1", "value": "v"}, {"key": "k2", "value": "w"}])
    assert {volume["id"] for volume in either["volume"]} == {first, second}
    assert either["count"] == 3  # the tags that match, not the volumes
    assert {tag["resourceid"] for tag in api.listTags(key="k2", resourcetype="Volume")["tag"]} == {first, second}
    assert [tag["resourceid"] for tag in api.listTags(key="k1", value="v")["tag"]] == [first]
    assert api.listTags(key="k1", resourcetype="UserVm") == {}
    for volume in (first, second):
        api.deleteVolume(id=volume)


def test_expunging_needs_the_setting_and_the_rule(double: Double, user: CloudStack, ids: Ids) -> None:
    machine = deploy(user, ids, "doomed", startvm=False)["id"]
    for setting, deny in ((False, []), (True, ["expungeVirtualMachine"])):
        double.settings(allow_user_expunge=setting)
        double.control("POST", "/lab/account", account="restricted", deny=deny)
        error = refused(530, user.destroyVirtualMachine, in_job=True, id=machine, expunge=True)
        assert error["errortext"] == "Account does not have permission for expunging."
        capability = user.listCapabilities()["capability"]
        assert capability["allowuserexpungerecovervm"] is setting
        assert ("expungeVirtualMachine" in {api["name"] for api in user.listApis()["api"]}) is (not deny)
    assert user.listVirtualMachines(id=machine)["virtualmachine"][0]["state"] == "Stopped"
    double.control("POST", "/lab/account", account="restricted")
    assert user.destroyVirtualMachine(id=machine, expunge=True)["virtualmachine"] == GONE
    double.settings(allow_user_expunge=False)
    own = deploy(double.api(), ids, "doomed-of-admin", startvm=False)["id"]
    assert double.api().destroyVirtualMachine(id=own, expunge=True)["virtualmachine"] == GONE


def test_a_destroyed_machine_keeps_what_it_has_until_it_is_expunged(double: Double, user: CloudStack, ids: Ids) -> None:
    wish = {"networkids": ids.test, "ipaddress": "10.99.0.77", "macaddress": "02:00:00:00:77:77", "startvm": False}
    machine = deploy(user, ids, "kept", **wish)["id"]
    root = root_of(user, machine)["id"]
    assert user.destroyVirtualMachine(id=machine)["virtualmachine"]["state"] == "Destroyed"
    assert user.listVirtualMachines(id=machine) == {}
    assert user.listVirtualMachines(name="kept") == {}
    assert double.api().listVirtualMachines(id=machine, listall=True)["virtualmachine"][0]["state"] == "Destroyed"
    assert root_of(user, machine)["vmstate"] == "Destroyed"
    refused(431, lambda: deploy(user, ids, "kept", startvm=False))  # the name
    for taken in ("ipaddress", "macaddress"):
        with pytest.raises(CloudStackApiException):
            deploy(user, ids, "other", networkids=ids.test, startvm=False, **{taken: wish[taken]})
    double.settings(allow_user_view_destroyed=True)
    assert user.listVirtualMachines(id=machine)["virtualmachine"][0]["state"] == "Destroyed"
    double.settings(expunge_delay=0.0)
    eventually("it is expunged", lambda: user.listVolumes(id=root) == {}, 10)
    again = deploy(user, ids, "kept", **wish)["id"]
    user.destroyVirtualMachine(id=again, expunge=True)


def test_throttling(double: Double, user: CloudStack, ids: Ids) -> None:
    double.settings(throttle_calls=3, throttle_seconds=60.0)
    for _ in range(3):
        user.listZones()
    error = refused(429, user.createVolume, name="none", diskofferingid=ids.disk, size=1, zoneid=ids.zone)
    assert error["cserrorcode"] == 9999
    begin, _, rest = error["errortext"].partition("[")
    assert begin == "The given user has reached his/her account api limit, please retry after "
    assert 0 < int(rest.removesuffix("] ms.")) <= 60_000
    refused(429, user.queryAsyncJobResult, jobid="11111111-2222-3333-4444-555555555555")
    admin = double.api()
    for _ in range(5):
        admin.listZones()  # a root administrator is not counted
    double.settings(throttle_calls=0)
    assert user.listVolumes(name="none") == {}  # refused before anything was made
    double.settings(throttle_calls=2, throttle_seconds=0.2)
    user.listZones(), user.listZones()
    refused(429, user.listZones)
    double.settings(throttle_calls=2, throttle_seconds=0.01)
    user.listZones()
