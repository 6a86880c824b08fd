"""CloudStack's quirks, each one made by the double: what our client makes of it, and what the daemon does.

The rest of them is elsewhere: a device that never appears, or under another serial (test_volume_daemon.py); refused,
failed and vanished jobs, timeouts after the work was done, gateways, broken connections (test_daemon_matrix.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from migratekit_core.adapters.cloudstack.client import Untracked
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import AuthError, OperationFailedError, PreconditionError
from migratekit_core.common.files import write_private
from migratekit_core.config.schema import Ossea
from migratekit_core.config.secret import SecretSource
from migratekit_core.volumed.daemon.storage import Storage
from tests.coded import raises
from tests.integration.support import GIB
from tests.lab.lab import ROOT
from tests.lab.parts import cloud as parts
from tests.lab.parts import process
from tests.lab.parts.cloud import Cloud

TAG = {"migratekit": "00000000-0000-0000-0000-00000000000c"}
JOBS = Untracked()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cloud, Storage]]:
    run = tmp_path_factory.mktemp("quirks")
    try:
        cloud = parts.start(run, ROOT, process.choose_port(None))
        write_private(run / "key", cloud.api_key)
        write_private(run / "secret", cloud.secret_key)
        ossea = Ossea(
            api_url=cloud.url,
            api_key=SecretSource(file=run / "key"),
            secret_key=SecretSource(file=run / "secret"),
            zone="lab-zone-1",
            service_offering="Custom Instance",
            disk_offering="Custom",
            template="migratekit-shell",
            oma_vm="oma01",
        )
        yield cloud, Storage(ossea)
    finally:
        process.end_all(run)


@pytest.fixture
def cloud(started: tuple[Cloud, Storage]) -> Iterator[Cloud]:
    yield started[0]
    started[0].clear_faults()


@pytest.fixture
def storage(started: tuple[Cloud, Storage], cloud: Cloud) -> Storage:
    return started[1]


@pytest.mark.parametrize("form", ["as it is", "numbers-as-text", "missing-keys", "text-result", "plain-result"])
def test_a_volumes_life_in_every_form_of_answers(cloud: Cloud, storage: Storage, form: str) -> None:
    if form != "as it is":
        command = "queryAsyncJobResult" if form.endswith("-result") else "*"
        cloud.fault(command=command, mode=form, count=-1)
    made = storage.create(f"life-{form.replace(' ', '-')}", GIB, JOBS)
    storage.tag(made, TAG | {"number": "42"}, JOBS)
    found = storage.get(made.id)
    assert found is not None
    assert (found.name, found.size, found.vm_id, found.device_id) == (made.name, GIB, None, None)
    assert found.tags == TAG | {"number": "42"}
    assert [volume.id for volume in storage.ours() if volume.name == made.name] == [made.id]
    attached = storage.attach(made.id, storage.oma_vm_id(), None, JOBS)
    assert (attached.id, attached.size, attached.vm_id) == (made.id, GIB, storage.oma_vm_id())
    if form != "missing-keys":
        assert attached.device_id == cloud.volume(made.id)["deviceid"]
    taken = storage.snapshot(made.id, "snapshot", JOBS)
    assert [one.id for one in storage.snapshots_of(made.id)] == [taken.id]
    storage.delete_snapshot(taken.id, JOBS)
    assert storage.snapshot_by_id(taken.id) is None
    storage.detach(made.id, JOBS)
    storage.delete(made.id)
    assert storage.get(made.id) is None


@pytest.mark.parametrize("form", ["as it is", "numbers-as-text", "missing-keys", "text-result", "plain-result"])
def test_why_a_job_failed_is_told_in_every_form(cloud: Cloud, storage: Storage, form: str) -> None:
    made = storage.create("fails", GIB, JOBS)
    if form != "as it is":
        cloud.fault(command="queryAsyncJobResult", mode=form, count=-1)
    cloud.fault(command="attachVolume", mode="job-fails", text="the agent is down")
    with raises(OperationFailedError, ErrorCode.UNKNOWN):
        storage.attach(made.id, storage.oma_vm_id(), None, JOBS)
    storage.delete(made.id)


def test_an_empty_answer_has_no_list_and_is_an_empty_list(cloud: Cloud, storage: Storage) -> None:
    assert storage.cloud.request("listSnapshots", page=1, pagesize=500) == {}
    assert storage.cloud.list("listSnapshots", "snapshot") == []
    assert storage.named("nobody") is None


def test_an_id_that_is_not_known_any_more_is_none_and_no_error(storage: Storage) -> None:
    assert storage.get("00000000-0000-0000-0000-0000000000ff") is None
    assert storage.snapshot_by_id("00000000-0000-0000-0000-0000000000ff") is None


@pytest.mark.parametrize(
    ("code", "exception", "kind"),
    [
        (431, 4350, OperationFailedError),
        (432, 9999, AuthError),
        (530, 4250, OperationFailedError),
        (531, 4365, AuthError),
        (533, 4345, PreconditionError),
        (535, 4370, PreconditionError),
        (401, 9999, AuthError),
    ],
)
def test_codes_decide_and_reach_the_operator(
    cloud: Cloud, storage: Storage, code: int, exception: int, kind: type[Exception]
) -> None:
    """The HTTP status is CloudStack's errorcode; cserrorcode says which exception it was, where that says anything."""
    cloud.fault(command="deleteVolume", mode="error", errorcode=code, cserrorcode=exception, text="its own words")
    with pytest.raises(kind) as caught:
        storage.delete("00000000-0000-0000-0000-0000000000ff")
    told = str(caught.value)
    assert f"(error {code})" in told
    assert "its own words" in told
    assert (f"exception {exception}" in told) == (exception != 9999)


@pytest.mark.parametrize("counted", [True, False])
def test_more_volumes_than_a_page_holds(cloud: Cloud, storage: Storage, counted: bool) -> None:
    """1001 are three pages; without a count in the answer a page that is not full is the last."""
    tag = {"migratekit": f"pages-{counted}"}
    made = cloud.volumes(1001, f"many-{counted}", tag)
    if not counted:
        cloud.fault(command="listVolumes", mode="missing-keys", count=-1)
    found = [volume.id for volume in storage.ours() if volume.tags == tag]
    assert len(found) == len(set(found)) == 1001
    assert set(found) == set(made)
    last = storage.get(made[-1])
    assert last is not None
    assert last.id == made[-1]


def test_the_double_refuses_a_page_above_its_limit(cloud: Cloud, storage: Storage) -> None:
    with pytest.raises(OperationFailedError, match="error 431"):
        storage.cloud.request("listVolumes", page=1, pagesize=501)
