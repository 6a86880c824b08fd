"""`assess --target` against the CloudStack double: what is missing there is named, and nothing is changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from cs import CloudStack

from migratekit_cli.reports.assessment.document import document
from migratekit_core.common.files import write_private
from migratekit_core.config import load_config
from migratekit_core.services.assessment.assessment import assess
from migratekit_core.services.assessment.collect import collect
from tests.integration import estate
from tests.integration.estate import TAKEN
from tests.integration.estate_fixture import Estate
from tests.lab.lab import COMMAND, ROOT, environment
from tests.lab.parts import cloud as clouds
from tests.lab.parts import process
from tests.unit.inventory import GIB, disk, machine, nic, write

SETTINGS = {
    "zone": "lab-zone-1",
    "service_offering": "Custom Instance",
    "disk_offering": "Custom",
    "template": "migratekit-shell",
    "oma_vm": "oma01",
}


@dataclass
class Place:
    """A cloud, and assessments against it."""

    cloud: clouds.Cloud
    folder: Path

    def configure(self, network: str, test: str, **settings: str | int | None) -> Path:
        """Write a configuration; `settings` go to [ossea], None leaves one out."""
        write_private(self.folder / "api.secret", self.cloud.api_key)
        write_private(self.folder / "key.secret", self.cloud.secret_key)
        named = {key: value for key, value in {**SETTINGS, **settings}.items() if value is not None}
        lines = [
            "[ossea]",
            f'api_url = "{self.cloud.url}"',
            f'api_key = {{ file = "{self.folder}/api.secret" }}',
            f'secret_key = {{ file = "{self.folder}/key.secret" }}',
            *(f"{key} = {json.dumps(value)}" for key, value in named.items()),
            "[networks]",
            *([f'test = "{test}"'] if test else []),
            "[networks.map]",
            f'"VM Network" = "{network}"',
        ]
        path = self.folder / "config.toml"
        write_private(path, "\n".join(lines) + "\n")
        return path

    def assess(
        self, *machines: Any, network: str = "guest-prod", test: str = "migration-test", **settings: str | int | None
    ) -> dict[str, Any]:
        """Assess machines of an inventory file, as the command does, and return what its JSON has."""
        config = load_config(self.configure(network, test, **settings), None)
        inventory = write(self.folder / "inventory.json", *machines)
        site = collect(config, [], everything=True, with_target=True, offline=inventory)
        return document(assess(site))


def rules(report: dict[str, Any]) -> set[str]:
    """Return the rules about the target that were hit, and about permissions there."""
    hit = {found["rule"] for found in report["findings"]}
    return {rule for rule in hit if rule.startswith(("MK-TGT", "MK-PERM", "MK-NET"))}


def deploy_taken(cloud: clouds.Cloud) -> None:
    """Have a machine in the cloud that is in the way."""
    api = CloudStack(endpoint=cloud.url, key=cloud.api_key, secret=cloud.secret_key)
    zone = api.listZones(name="lab-zone-1")["zone"][0]["id"]
    offering = api.listServiceOfferings(name="Small Instance")["serviceoffering"][0]["id"]
    template = api.listTemplates(templatefilter="executable", name="debian-12")["template"][0]["id"]
    network = next(each["id"] for each in api.listNetworks()["network"] if each["name"] == "guest-prod")
    api.deployVirtualMachine(
        zoneid=zone,
        serviceofferingid=offering,
        templateid=template,
        networkids=network,
        name=TAKEN["name"],
        ipaddress=TAKEN["ip"],
        macaddress=TAKEN["mac"],
        fetch_result=True,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cloud whose account may do everything."""
    run = tmp_path_factory.mktemp("target")
    try:
        cloud = clouds.start(run, ROOT, process.choose_port(None))
        deploy_taken(cloud)
        yield Place(cloud, run)
    finally:
        process.end_all(run)


def own_cloud(run: Path, account: dict[str, Any], *options: str) -> Place:
    """Start a cloud with one account of a test's own, which owns the OMA."""
    write_private(run / "keys.json", json.dumps({"accounts": [account]}))
    command = [sys.executable, "-m", "tests.lab.cloudstack", "--listen", "127.0.0.1:0", *options]
    command += ["--state", str(run / "cloud"), "--keys", str(run / "keys.json")]
    part = process.launch("own-cloud", command, run, cwd=ROOT)
    process.wait_until(lambda: bool(process.first_line(part)), part)
    url = str(json.loads(process.first_line(part))["url"])
    http = httpx.Client(base_url=url.removesuffix("/client/api"), timeout=60, trust_env=False)
    keys = {"migratekit": clouds.Keys(account["apikey"], account["secretkey"])}
    return Place(clouds.Cloud(part, url, keys, http, nullcontext), run)


@pytest.fixture(scope="module")
def administrator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cloud whose account is a root administrator's: he sees hosts, storage and the hypervisor's limits."""
    run = tmp_path_factory.mktemp("administrator")
    account = {"account": "admin", "apikey": "admin-api-key", "secretkey": "admin-secret-key", "accounttype": 1}
    try:
        yield own_cloud(run, account)
    finally:
        process.end_all(run)


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A cloud whose account is an ordinary user's, with a narrow role and narrow limits."""
    run = tmp_path_factory.mktemp("tenant")
    account: dict[str, Any] = {
        "account": "tenant",
        "apikey": "tenant-api-key",
        "secretkey": "tenant-secret-key",
        "accounttype": 0,
        "deny": ["createSnapshot", "listOsTypes"],
        "limits": {"user_vm": 10, "volume": 3, "primary_storage": 25},
    }
    try:
        yield own_cloud(run, account, "--no-kvm-snapshot")
    finally:
        process.end_all(run)


def test_nothing_is_said_where_all_is_well(place: Place) -> None:
    report = place.assess(machine())
    assert rules(report) == set()
    # Hosts and storage pools are an administrator's to see.
    unseen = ["MK-TGT-008", "MK-TGT-009", "MK-TGT-011"]
    assert [each["rule"] for each in report["not_checked"]] == ["MK-PERM-001", *unseen]


def test_an_administrator_is_told_of_hosts_and_storage_too(administrator: Place) -> None:
    report = administrator.assess(machine())
    assert rules(report) == set()
    assert [each["rule"] for each in report["not_checked"]] == ["MK-PERM-001"]


def test_the_oma_of_another_account_is_refused_whoever_asks(place: Place) -> None:
    """CloudStack attaches no volume of one account to a machine of another, not even for root admin (recorded)."""
    keys = place.cloud.keys
    foreign = replace(place.cloud, keys={**keys, "migratekit": keys["admin"]})
    report = Place(foreign, place.folder).assess(machine())
    # Without `listall` root admin sees his own machines only.
    assert rules(report) >= {"MK-TGT-006"}
    (message,) = [found["message"] for found in report["findings"] if found["rule"] == "MK-TGT-006"]
    assert "those of other accounts cannot be seen" in message


def test_an_account_that_may_not_expunge_is_told_so(place: Place) -> None:
    place.cloud.settings(allow_user_expunge=False)
    try:
        report = place.assess(machine())
    finally:
        place.cloud.default_settings()
    assert rules(report) == {"MK-TGT-013"}
    (message,) = [found["message"] for found in report["findings"] if found["rule"] == "MK-TGT-013"]
    assert message == "allow.user.expunge.recover.vm is false"


@pytest.mark.parametrize(
    ("settings", "rule", "says"),
    [
        ({"zone": "nowhere"}, "MK-TGT-001", "there are: lab-zone-1"),
        ({"service_offering": "Huge"}, "MK-TGT-002", "Small Instance"),
        ({"disk_offering": "Nothing"}, "MK-TGT-003", "does not exist"),
        ({"disk_offering": "Small"}, "MK-TGT-003", "fixed size of 5 GiB"),
        ({"template": None}, "MK-TGT-004", "is not set"),
        ({"template": "gone"}, "MK-TGT-004", "does not exist"),
        ({"network": "gone"}, "MK-TGT-005", "networks.map 'VM Network' = 'gone'"),
        ({"test": "gone"}, "MK-TGT-005", "networks.test = 'gone'"),
        ({"oma_vm": "nobody"}, "MK-TGT-006", "does not exist"),
        ({"test": ""}, "MK-NET-010", "not set"),
    ],
)
def test_what_the_configuration_names_and_the_cloud_lacks(
    place: Place, settings: dict[str, Any], rule: str, says: str
) -> None:
    report = place.assess(machine(), **settings)
    messages = [found["message"] for found in report["findings"] if found["rule"] == rule]
    assert len(messages) == 1, rules(report)
    assert says in messages[0]
    assert rules(report) == {rule}


def card(**changes: Any) -> dict[str, Any]:
    return {"nics": (nic(**changes),)}


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"disks": tuple(disk(number) for number in range(1, 34))}, "MK-TGT-101"),
        ({"disks": (disk(capacity_bytes=2048 * GIB),)}, "MK-TGT-102"),
        ({"guest_id": "fedora64Guest", "guest_reported_id": "fedora64Guest"}, "MK-TGT-104"),
        ({"name": "taken01"}, "MK-TGT-105"),
        (card(ip_addresses=("192.168.7.7",), addresses=()), "MK-TGT-106"),
        (card(ip_addresses=(TAKEN["ip"],), addresses=()), "MK-TGT-107"),
        (card(ip_addresses=("10.1.1.1",), addresses=()), "MK-TGT-107"),
        (card(mac=TAKEN["mac"].upper()), "MK-TGT-108"),
    ],
)
def test_a_machine_that_does_not_fit_there(place: Place, changes: dict[str, Any], rule: str) -> None:
    found = rules(place.assess(machine(**changes)))
    # A disk beyond the limit is beyond the storage, too.
    assert found - {"MK-TGT-008", "MK-TGT-011"} == {rule}


def test_an_address_from_dhcp_may_change(place: Place) -> None:
    given = machine(**card(ip_addresses=("192.168.7.7",), addresses=(), dhcp=True))
    assert rules(place.assess(given)) == set()


def test_a_fixed_offering_must_be_large_enough(place: Place) -> None:
    assert rules(place.assess(machine(cpus=4), service_offering="Medium Instance")) == {"MK-TGT-103"}
    assert rules(place.assess(machine(), service_offering="Medium Instance")) == set()


@pytest.mark.parametrize(
    ("free", "rule", "says"),
    [
        (3, "MK-TGT-008", "the machines hold 4.0 GiB, 3.0 GiB are free in 1 pool"),
        (8, "MK-TGT-011", "can grow to 10.0 GiB, 8.0 GiB are free"),
        (10, None, ""),
    ],
)
def test_primary_storage_must_hold_the_data_and_should_hold_the_capacity(
    administrator: Place, free: int, rule: str | None, says: str
) -> None:
    administrator.cloud.room(free * GIB)
    try:
        report = administrator.assess(machine())
    finally:
        administrator.cloud.room(None)
    assert rules(report) == ({rule} if rule else set())
    messages = [found["message"] for found in report["findings"] if found["rule"] == rule]
    assert says in " ".join(messages)


def test_more_disks_than_the_oma_holds_at_a_time(place: Place) -> None:
    whole = tuple(disk(number) for number in range(1, 18))
    second = machine(
        "good02",
        disks=tuple(disk(number, path=f"[ds1] good02/{number}.vmdk") for number in range(1, 18)),
        nics=(nic(2, ip_addresses=("10.1.1.22",), addresses=()),),
    )
    assert rules(place.assess(machine(disks=whole))) == set()
    report = place.assess(machine(disks=whole), second)
    assert rules(report) == {"MK-TGT-012"}
    (message,) = [found["message"] for found in report["findings"] if found["rule"] == "MK-TGT-012"]
    assert message == "2 machines have 34 disks, and 32 can be attached"


def test_the_limit_of_disks_can_be_set(place: Place) -> None:
    """A UEFI machine takes two disks while it runs (apache/cloudstack 11212): nobody but the operator knows."""
    report = place.assess(machine(disks=tuple(disk(number) for number in range(1, 4))), max_disks=2)
    assert rules(report) == {"MK-TGT-101"}


def test_an_account_with_a_narrow_role_is_told_what_it_lacks(tenant: Place) -> None:
    two = (
        machine(disks=(disk(), disk(2))),
        machine("good02", disks=(disk(path="[ds1] x/1.vmdk"),) * 2, nics=(nic(2),)),
    )
    report = tenant.assess(*two)
    lacking = {found["subject"]: found["message"] for found in report["findings"] if found["rule"] == "MK-PERM-002"}
    assert set(lacking) == {"createSnapshot"}
    assert lacking["createSnapshot"] == "volume daemon call createSnapshot"
    (helpful,) = [found["message"] for found in report["findings"] if found["rule"] == "MK-PERM-003"]
    assert helpful.startswith("test-failover, failover, assess --target call listOsTypes: without it the OS type stays")
    quotas = {found["subject"] for found in report["findings"] if found["rule"] == "MK-TGT-007"}
    assert quotas == {"volumes", "GiB of primary storage"}
    assert "MK-TGT-010" in rules(report)
    reasons = {each["rule"]: each["reason"] for each in report["not_checked"]}
    assert {"MK-TGT-008", "MK-TGT-009", "MK-TGT-104"} <= set(reasons)
    assert "listStoragePools" in reasons["MK-TGT-008"]


def test_the_command_asks_for_lists_only_and_needs_no_tunnel(place: Place) -> None:
    config = place.configure("guest-prod", "migration-test", zone="nowhere")
    inventory = write(place.folder / "inventory.json", machine())
    place.cloud.http.delete("/lab/calls").raise_for_status()
    done = subprocess.run(
        [COMMAND, "--config", config, "assess", "--all", "--target", "--offline", inventory, "-o", "json"],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert rules(json.loads(done.stdout)) == {"MK-TGT-001"}
    calls = place.cloud.http.get("/lab/calls").json()
    assert calls
    assert [name for name in calls if not name.startswith("list")] == []
    assert max(calls.values()) == 1


def test_the_estate_of_a_vcenter_against_the_target(place: Place, source: Estate) -> None:
    """Each machine that the target has something against is found, and no other."""
    mine, theirs = place.configure("guest-prod", "migration-test", service_offering="Medium Instance"), source.config
    both = place.folder / "both.toml"
    ossea = mine.read_text().partition("[networks]")[0]
    write_private(both, ossea + theirs.read_text())
    paths = [estate.path_of(odd) for odd in estate.MACHINES]
    done = source.run("assess", *paths, "--target", "-o", "json", config=both)
    assert done.returncode == 3, done.stderr
    found: dict[str, set[str]] = {}
    for each in json.loads(done.stdout)["findings"]:
        if each["rule"].startswith("MK-TGT"):
            found.setdefault(each["vm_path"], set()).add(each["rule"])
    site = found.pop("")
    assert found == {estate.path_of(odd): {odd.target} for odd in estate.MACHINES if odd.target}
    # 100 machines are more than one OMA holds at a time; what the storage holds is an administrator's to see.
    assert site == {"MK-TGT-012"}
