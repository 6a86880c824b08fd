"""How a machine is made whose root disk is a volume of the replica: in the place of a template's."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cs import CloudStack

from migratekit_core.adapters.cloudstack.client import Cloud
from migratekit_core.adapters.cloudstack.compute import NicSpec, VmSpec
from migratekit_core.config import load_config
from migratekit_core.context import Runtime, open_runtime
from migratekit_core.services.failover import deploy
from migratekit_core.services.failover.record import LIVE, Record, begin
from migratekit_core.services.replication import replica
from migratekit_core.volumed.names import TAG
from tests.integration.support import report, sql
from tests.lab.cloudstack.catalogue import ZONE, stable_id
from tests.lab.lab import Lab

VM = "ways01"
MAC = "00:50:56:00:00:79"
WINDOWS = "Windows Server 2022 (64-bit)"


def volume_ids_of(lab: Lab) -> list[str]:
    rows = sql(lab, "SELECT DISTINCT ossea_volume_id AS id FROM vm_disks JOIN replication_jobs j ON j.id = job_id "
                    "WHERE j.source_vm_name = %s", VM)  # fmt: skip
    return [str(row["id"]) for row in rows]


def spec(name: str) -> VmSpec:
    return VmSpec(
        name=name,
        display_name=name,
        zone_id=ZONE,
        service_offering_id=stable_id("serviceoffering", "Custom Bounded"),
        nics=(
            NicSpec(stable_id("network", "guest-dmz"), mac=MAC, ip="10.50.0.77"),
            NicSpec(stable_id("network", "legacy-l2"), mac="00:50:56:00:00:7a"),
        ),
        details={"cpuNumber": "2", "memory": "1024", "rootDiskController": "sata", "nicAdapter": "e1000"},
        firmware="efi",
        secure_boot=False,
        os_type_id=stable_id("ostype", WINDOWS),
    )


@contextmanager
def built(lab: Lab, name: str, volumes_of: Any) -> Iterator[tuple[dict[str, Any], Record, list[str]]]:
    """Build a machine around volumes as a failover does, and take it away again."""
    api = CloudStack(endpoint=lab.cloud.url, key=lab.cloud.api_key, secret=lab.cloud.secret_key)
    config = load_config(lab.config, None)
    with open_runtime(config) as runtime:
        (found,) = replica.named(runtime.databases.oma, VM)
        record = begin(runtime.databases.oma, found.job, LIVE, {})
        volume_ids = volumes_of(api, runtime)
        cloud = Cloud(runtime.ossea)
        with runtime.tracker.job("failover", owner=name) as job:
            volumes = runtime.volumes(job)
            try:
                build = (runtime, cloud, volumes, job, record, spec(name), volume_ids, "u")
                vm_id = deploy.build(*build)
                # A second run, after a crash, finds all done and makes nothing twice.
                assert deploy.build(*build) == vm_id
                assert [vm["name"] for vm in lab.cloud.state()["virtualmachines"]].count(name) == 1
                vm = next(each for each in lab.cloud.api_machines() if each["id"] == vm_id)
                yield vm, record, volume_ids
                for volume in reversed(volume_ids):
                    volumes.detach(volume)
            finally:
                record.end("rolled_back")
                api.destroyVirtualMachine(id=vm_id, expunge=True, fetch_result=True)
                for volume in volume_ids:
                    volumes.delete(volume)
                volumes.close()


def blank(api: CloudStack, runtime: Runtime) -> list[str]:
    """Return volumes as replicas have them, attached once so that they lie on storage."""
    volumes = runtime.volumes()
    try:
        made = [volumes.create(f"way-{n}", 1 << 30, {TAG: "u"}, str(uuid.uuid4()))["volume_id"] for n in range(3)]
        for volume in made:
            volumes.attach(volume)
            volumes.detach(volume)
        return made
    finally:
        volumes.close()


def check(vm: dict[str, Any], lab: Lab, volume_ids: list[str]) -> None:
    """Check that a machine is what was asked for."""
    assert (vm["state"], vm["osdisplayname"], vm["boottype"], vm["bootmode"]) == ("Stopped", WINDOWS, "Uefi", "legacy")
    assert (vm["cpunumber"], vm["memory"], vm["serviceofferingname"]) == (2, 1024, "Custom Bounded")
    assert vm["details"]["rootDiskController"] == "sata"
    first, second = vm["nic"]
    assert (first["networkname"], first["macaddress"], first["ipaddress"]) == ("guest-dmz", MAC, "10.50.0.77")
    assert (second["networkname"], second["macaddress"]) == ("legacy-l2", "00:50:56:00:00:7a")
    assert "ipaddress" not in second
    have = {volume["id"]: volume for volume in lab.cloud.state()["volumes"] if volume["virtualmachineid"] == vm["id"]}
    assert {volume: have[volume]["deviceid"] for volume in have} == dict(zip(volume_ids, (0, 1, 2, 4), strict=False))
    assert have[volume_ids[0]]["type"] == "ROOT"
    assert {tag["key"] for tag in vm["tags"]} == {TAG, f"{TAG}-failover", f"{TAG}-kind"}


@pytest.fixture(scope="module")
def replicated(shared_lab: Lab) -> None:
    """A replica, for a failover belongs to one."""
    report(shared_lab, "replicate", VM)


def test_a_blank_volume_takes_the_place_of_the_templates(lab: Lab, replicated: None) -> None:
    with built(lab, "way-template", blank) as (vm, record, volume_ids):
        check(vm, lab, volume_ids)
        assert record.state()["template_root"] is None
        assert vm["templatename"] == "migratekit-shell"
    # Of the template's root disk nothing is left.
    names = [volume["name"] for volume in lab.cloud.state()["volumes"]]
    assert not [name for name in names if name.startswith("ROOT-") and name != "ROOT-1"]
