"""The double writes down what no client may send, and the test that caused it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cloud_double import ROOT, Double, Ids, find_ids, refused, running
from tests.lab.cloudstack import violations

pytestmark = pytest.mark.bad_requests


@pytest.fixture(scope="module")
def double(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    with running(tmp_path_factory.mktemp("requests"), "--job-seconds", "0.01") as double:
        yield double


@pytest.fixture(scope="module")
def ids(double: Double) -> Ids:
    return find_ids(double)


class Told:
    """What the double has told since the test began."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = path.stat().st_size if path.exists() else 0

    def problems(self) -> list[str]:
        return violations.read(self._path, self._seen)


@pytest.fixture
def told(double: Double) -> Told:
    return Told(double.state / violations.FILE)


def test_what_a_client_may_send(double: Double, told: Told, ids: Ids) -> None:
    api = double.api()
    api.listVolumes(tags=[{"key": "a", "value": "b"}], page=1, pagesize=20)
    api.listTags(key="a", resourcetype="Volume")
    volume = api.createVolume(name="fine", diskofferingid=ids.disk, size=1, zoneid=ids.zone)["volume"]["id"]
    api.createTags(resourceids=volume, resourcetype="Volume", tags=[{"key": "a", "value": "b"}])
    api.deleteTags(resourceids=volume, resourcetype="Volume", tags=[{"key": "a"}])  # no filter of a list
    double.ask("listZones", signatureVersion=3, expires="2099-01-01T00:00:00+0000")
    api.deleteVolume(id=volume)
    assert told.problems() == []


def test_parameters_and_commands_that_the_table_does_not_have(double: Double, told: Told) -> None:
    api = double.api()
    api.listZones(nonsense="x")
    api.listVolumes(**{"details[0].key": "a"})
    assert told.problems() == [
        "listZones: the command has no parameter nonsense",
        "listVolumes: the command has no parameter details",
    ]
    refused(401, api.noSuchCommand)
    assert told.problems()[2] == "noSuchCommand: the API table has no such command"
    refused(530, api.listBackups)
    assert told.problems()[3] == "listBackups: the double cannot do this command"


def test_tag_filters_without_a_value(double: Double, told: Told) -> None:
    refused(431, double.api().listVolumes, **{"tags[0].key": "a"})
    refused(431, double.api().listVirtualMachines, **{"tags[0].key": "a", "tags[1].key": "b", "tags[1].value": "c"})
    assert told.problems() == [
        "listVolumes: the tag filter tags[0].key has no value",
        "listVirtualMachines: the tag filter tags[0].key has no value",
    ]


def test_newer_parameters_only_after_listapis(double: Double, told: Told) -> None:
    double.api().listNetworks(name="x")
    assert told.problems() == ["listNetworks: listApis was not asked before the use of name (since 4.22.0)"]
    double.api().listApis(name="listNetworks")
    double.api().listNetworks(name="x")
    double.api().listTemplates(templatefilter="featured", isready=True)
    double.api(1).listNetworks(name="x")  # another client
    assert told.problems()[1:] == [
        "listTemplates: listApis was not asked before the use of isready (since 4.21.0)",
        "listNetworks: listApis was not asked before the use of name (since 4.22.0)",
    ]
    double.api().listApis()
    double.api().listTemplates(templatefilter="featured", isready=True)
    assert len(told.problems()) == 3


def test_what_another_test_has_asked_does_not_count(double: Double, told: Told) -> None:
    double.api().listTemplates(templatefilter="featured", isready=True)
    assert len(told.problems()) == 1


def test_an_older_cloud_ignores_newer_parameters(tmp_path: Path) -> None:
    with running(tmp_path, "--version", "4.20.0") as old:
        api = old.api()
        [listed] = api.listApis(name="listNetworks")["api"]
        assert "name" not in {parameter["name"] for parameter in listed["params"]}
        assert api.listNetworks(name="no-such-network")["count"] > 0
        assert api.listCapabilities()["capability"]["cloudstackversion"] == "4.20.0"
        refused(401, api.listGpuCards)


CAUGHT = """
import pytest
from tests.integration.cloud_double import running

@pytest.fixture(scope="module")
def double(tmp_path_factory):
    with running(tmp_path_factory.mktemp("inner")) as double:
        yield double

def test_right(double):
    double.api().listZones()

def test_wrong(double):
    double.api().listZones(nonsense="x")

@pytest.mark.bad_requests
def test_wrong_on_purpose(double):
    double.api().listZones(nonsense="x")

def test_right_again(double):
    double.api().listZones()
"""


def test_the_test_that_caused_it_fails(tmp_path: Path) -> None:
    (tmp_path / "test_caught.py").write_text(CAUGHT)
    # From the inside: the conftest of all tests is what is tested, so it has to be loaded.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-c", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path / "test_caught.py")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "4 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert re.search(r"^ERROR .*test_caught\.py::test_wrong\b", done.stdout, re.MULTILINE), done.stdout
    assert "requests that no client may send to CloudStack" in done.stdout
    assert "listZones: the command has no parameter nonsense" in done.stdout
