"""What the daemon and the adapter make of CloudStack's refusals, limits and restarts, with the double's rules on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from migratekit_core.adapters.cloudstack import compute
from migratekit_core.adapters.cloudstack.client import Cloud, Untracked
from migratekit_core.adapters.cloudstack.patience import AT_ONCE, Patience
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import MigrateKitError, PreconditionError, UnreachableError
from migratekit_core.common.files import write_private
from migratekit_core.config.schema import Ossea
from migratekit_core.config.secret import SecretSource
from migratekit_core.volumed.daemon import oma
from migratekit_core.volumed.daemon.outcome import ascertain
from migratekit_core.volumed.daemon.storage import Storage
from tests.integration.support import GIB
from tests.lab.cloudstack.catalogue import ZONE, stable_id
from tests.lab.lab import ROOT
from tests.lab.parts import cloud as parts
from tests.lab.parts import process

JOBS = Untracked()


@dataclass(frozen=True)
class Place:
    """A double, and configurations that lead to it."""

    cloud: parts.Cloud
    folder: Path

    def ossea(self, user: str = "migratekit", **changes: Any) -> Ossea:
        """Return the configuration of a user of the cloud."""
        for name, secret in (("key", self.cloud.keys[user].api_key), ("secret", self.cloud.keys[user].secret_key)):
            write_private(self.folder / f"{user}.{name}", secret)
        named: dict[str, Any] = {
            "api_url": self.cloud.url,
            "api_key": SecretSource(file=self.folder / f"{user}.key"),
            "secret_key": SecretSource(file=self.folder / f"{user}.secret"),
            "zone": "lab-zone-1",
            "disk_offering": "Custom",
            "template": "migratekit-shell",
            "oma_vm": "oma01",
        }
        return Ossea(**{**named, **changes})

    def storage(self, user: str = "migratekit", **changes: Any) -> Storage:
        """Return the daemon's storage for a user of the cloud."""
        return Storage(self.ossea(user, **changes))

    def oma_id(self) -> str:
        machine = self.cloud.machine("oma01")
        assert machine is not None
        return str(machine["id"])


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    run = tmp_path_factory.mktemp("kinds")
    try:
        yield Place(parts.start(run, ROOT, process.choose_port(None)), run)
    finally:
        process.end_all(run)


@pytest.fixture
def place(started: Place) -> Iterator[Place]:
    yield started
    started.cloud.clear_faults()
    started.cloud.default_settings()
    started.cloud.account()


def volume(place: Place, name: str) -> str:
    return place.storage().create(name, GIB, JOBS).id


def test_a_volume_that_is_busy_for_now_is_asked_for_again(place: Place) -> None:
    storage, made = place.storage(), volume(place, "busy")
    storage.attach(made, place.oma_id(), None, JOBS)
    storage.detach(made, JOBS)
    place.cloud.fault(command="createSnapshot", mode="slow", seconds=1.5)
    snapshot = threading.Thread(target=storage.snapshot, args=(made, "slow", JOBS))
    snapshot.start()
    try:
        while storage.get(made).state != "Snapshotting":  # type: ignore[union-attr]
            pass
        assert storage.attach(made, place.oma_id(), None, JOBS).vm_id == place.oma_id()
    finally:
        snapshot.join()
    refused = [
        job for job in place.cloud.state()["jobs"] if job["jobstatus"] == 2 and job["cmd"].endswith("AttachVolumeCmd")
    ]
    assert refused, "the first try was refused"
    impatient = Storage(place.ossea(), AT_ONCE)
    place.cloud.fault(command="createSnapshot", mode="slow", seconds=1.5)
    snapshot = threading.Thread(target=storage.snapshot, args=(made, "slow2", JOBS))
    snapshot.start()
    try:
        while storage.get(made).state != "Snapshotting":  # type: ignore[union-attr]
            pass
        with pytest.raises(MigrateKitError) as caught:
            impatient.snapshot(made, "third", JOBS)
        assert caught.value.code is ErrorCode.WRONG_STATE
    finally:
        snapshot.join()
    storage.detach(made, JOBS)


def test_the_limit_of_disks_is_learned_from_the_refusal(place: Place) -> None:
    storage, made = place.storage(), [volume(place, f"limit{number}") for number in range(3)]
    assert storage.max_disks() is None
    place.cloud.settings(max_data_volumes=2)
    for each in made[:2]:
        storage.attach(each, place.oma_id(), None, JOBS)
    with pytest.raises(PreconditionError) as caught:
        storage.attach(made[2], place.oma_id(), None, JOBS)
    assert caught.value.code is ErrorCode.VM_FULL
    # The daemon's other view of CloudStack, which answers requests, knows it, too.
    assert Storage(place.ossea(), AT_ONCE).max_disks() == 2
    assert place.storage(max_disks=7).max_disks() == 7
    assert oma.look(storage).data_disks == 2
    for each in made[:2]:
        storage.detach(each, JOBS)


def test_a_limit_that_is_configured_is_kept_without_asking(place: Place) -> None:
    storage, made = place.storage(max_disks=1), volume(place, "configured")
    storage.attach(made, place.oma_id(), None, JOBS)
    with pytest.raises(PreconditionError) as caught:
        storage.refuse_full()
    assert caught.value.code is ErrorCode.VM_FULL
    storage.detach(made, JOBS)
    storage.refuse_full()


def test_an_oma_in_a_project_is_refused_before_anything_is_made(place: Place) -> None:
    api = place.cloud.api()
    project = api.listProjects()["project"][0]["id"]
    network = next(row["id"] for row in api.listNetworks(projectid=project)["network"])
    api.deployVirtualMachine(
        name="oma-of-project",
        zoneid=ZONE,
        serviceofferingid=stable_id("serviceoffering", "Small Instance"),
        templateid=stable_id("template", "debian-12"),
        networkids=network,
        projectid=project,
    )
    before = place.cloud.state()["volumes"]
    with pytest.raises(PreconditionError) as caught:
        oma.require_fit(place.storage(oma_vm="oma-of-project"))
    assert caught.value.code is ErrorCode.DIFFERENT_ACCOUNTS
    assert "project 'migration'" in caught.value.what
    assert place.cloud.state()["volumes"] == before


def test_the_oma_of_another_account_is_refused(place: Place) -> None:
    """An administrator finds it by its id, and may attach nothing of his own to it."""
    with pytest.raises(PreconditionError) as caught:
        compute.oma(Cloud(place.ossea("admin")), place.oma_id())
    assert caught.value.code is ErrorCode.DIFFERENT_ACCOUNTS
    with pytest.raises(PreconditionError) as caught:
        compute.oma(Cloud(place.ossea("colleague")), "oma01")
    assert caught.value.code is ErrorCode.GONE
    # Another user of the same account is no other account.
    assert compute.oma(Cloud(place.ossea(parts.SECOND_USER)), place.oma_id())["id"] == place.oma_id()


def test_a_call_that_is_limited_waits_as_told_and_is_made_once(place: Place) -> None:
    said: list[str] = []
    cloud = Cloud(place.ossea(), note=said.append)
    place.cloud.settings(throttle_calls=3, throttle_seconds=3.0)
    for _ in range(3):
        cloud.request("listZones", page=1, pagesize=5)
    before = len(place.cloud.state()["volumes"])
    place.storage().create("limited", GIB, JOBS)
    place.cloud.default_settings()
    assert len(place.cloud.state()["volumes"]) == before + 1
    assert place.cloud.calls()["createVolume"] >= 1


def test_a_restart_in_the_middle_of_an_attach_is_outlived(place: Place) -> None:
    storage, made = place.storage(), volume(place, "restarted")
    place.cloud.fault(command="attachVolume", mode="slow", seconds=2.0)

    def look() -> Any:
        found = storage.get(made)
        return found if found is not None and found.vm_id == place.oma_id() else None

    restart = threading.Timer(0.7, place.cloud.restart, (1.0,))
    restart.start()
    found = ascertain(lambda: storage.attach(made, place.oma_id(), None, JOBS), look, 20.0)
    restart.join()
    assert found.vm_id == place.oma_id()
    interrupted = [job for job in place.cloud.state()["jobs"] if job["jobstatus"] == 2 and job["jobresult"] is None]
    assert interrupted, "the job was interrupted"
    storage.detach(made, JOBS)


def test_a_server_that_stays_away_is_unreachable(place: Place) -> None:
    place.cloud.restart(3.0)
    with pytest.raises(UnreachableError):
        Cloud(place.ossea(), replace(AT_ONCE)).list("listZones", "zone")
    said: list[str] = []
    assert Cloud(place.ossea(), Patience(outage=60.0), said.append).list("listZones", "zone")
    assert len(said) == 1, "it is said once what is waited for"
