"""The daemon's guard, through the daemon's own API: what is not MigrateKit's is left alone, whatever is asked and
whatever the database says."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from cs import CloudStack

from migratekit_core.common.files import write_private
from migratekit_core.volumed.daemon.actions import ACTIONS
from migratekit_core.volumed.daemon.guard import RULES
from tests.integration.daemon_api import done, ended
from tests.integration.machines import machine, thin
from tests.integration.support import MIB, eventually, run, sql
from tests.lab.guest import Images
from tests.lab.lab import ROOT, Lab, running
from tests.lab.parts.process import answers, launch, wait_until

PATH, VOLUMES = "/api/v1/volumes", "migratekit_volumes"
SOURCE = "00000000-0000-0000-0000-00000000600d"
TAGS = {"migratekit": SOURCE}
FORGED = "migration-forged-1-deadbeef"
BODIES: dict[str, Any] = {
    "attach": {},
    "export": {"vm_name": "x", "disk": "1"},
    "snapshot": {"name": "x"},
    "checksum": {"length": MIB},
    "detach": None,
    "delete": None,
}
"""Every action that does something to a volume, and what is sent for it."""


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine("unused", thin(MIB))]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose daemon compares all the time, and looks into a /sys and a /proc of the test's own."""
    with running(tmp_path_factory.mktemp("guard") / "run", preferred_ports=False, inventory=inventory) as lab:
        text = lab.daemon_config.read_text()
        settings = "device_timeout = 4\nsettle_timeout = 1.5\nreconcile_interval = 0.3"
        write_private(lab.daemon_config, text.replace("device_timeout = 10", settings))
        lab.parts["daemon"].stop()
        proc(lab).mkdir(parents=True)
        (proc(lab) / "self").mkdir()
        command = [sys.executable, "-m", "tests.integration.placed_daemon", str(lab.daemon_config), str(linux(lab))]
        lab.parts["daemon"] = launch("daemon", command, lab.run, cwd=ROOT)
        wait_until(lambda: answers(lab.ports["daemon"]), lab.parts["daemon"])
        yield lab


def linux(lab: Lab) -> Path:
    """Return the folder of what the OMA's Linux shows."""
    return Path(oma(lab)["byid"]).parent


def proc(lab: Lab) -> Path:
    return linux(lab) / "proc"


def oma(lab: Lab) -> dict[str, Any]:
    found = lab.cloud.machine("oma01")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def cloud(own_lab: Lab) -> CloudStack:
    """CloudStack's API as somebody uses it who knows nothing of the daemon."""
    cloud = own_lab.cloud
    return CloudStack(
        endpoint=cloud.url, key=cloud.api_key, secret=cloud.secret_key, poll_interval=0.05, fetch_result=True
    )


@pytest.fixture
def http(own_lab: Lab) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {own_lab.secrets['daemon']}"}
    base = f"http://127.0.0.1:{own_lab.ports['daemon']}"
    with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(own_lab: Lab, cloud: CloudStack) -> dict[str, Any]:
    """A stopped machine that somebody else made."""
    offering = next(one["id"] for one in cloud.listServiceOfferings()["serviceoffering"] if not one["iscustomized"])
    template = cloud.listTemplates(templatefilter="executable")["template"][0]["id"]
    network = cloud.listNetworks()["network"][0]["id"]
    made: dict[str, Any] = cloud.deployVirtualMachine(
        name="stranger01", zoneid=oma(own_lab)["zoneid"], serviceofferingid=offering, templateid=template,
        networkids=network, startvm=False,
    )["virtualmachine"]  # fmt: skip
    return made


def ask(http: httpx.Client, action: str, volume_id: str) -> dict[str, Any]:
    """Ask for an action, and return its operation when it has ended."""
    if action == "delete":
        return ended(http, freely(lambda: http.delete(f"{PATH}/{volume_id}")))
    return ended(http, freely(lambda: http.post(f"{PATH}/{volume_id}/{action}", json=BODIES[action])))


def codes(http: httpx.Client, volume_id: str, *actions: str) -> dict[str, str]:
    """Return the code that each action is refused with; none of them may be done."""
    found = {}
    for action in actions or BODIES:
        operation = ask(http, action, volume_id)
        assert operation["status"] == "failed", (action, operation)
        error = operation["error"]
        assert error["exit_code"] == 4, error
        assert all(error[part] for part in ("what", "why", "todo")), error
        assert "Traceback" not in str(error)
        found[action] = error["code"]
    return found


def root_of(cloud: CloudStack, vm_id: str) -> str:
    return str(cloud.listVolumes(virtualmachineid=vm_id, type="ROOT")["volume"][0]["id"])


def blank(lab: Lab, cloud: CloudStack, name: str, tag: str | None = None) -> str:
    """Make a volume behind the daemon's back."""
    offering = next(
        one["id"] for one in cloud.listDiskOfferings()["diskoffering"] if one["iscustomized"] and not one["disksize"]
    )
    made = cloud.createVolume(name=name, size=1, diskofferingid=offering, zoneid=oma(lab)["zoneid"])["volume"]
    if tag is not None:
        tags = {"tags[0].key": "migratekit", "tags[0].value": tag}
        cloud.createTags(resourceids=made["id"], resourcetype="Volume", **tags)
    return str(made["id"])


def ours(http: httpx.Client, *, attach: bool = True) -> str:
    volume_id = str(done(http, http.post(PATH, json={"name": "guarded", "size": MIB, "tags": TAGS}))["volume_id"])
    if attach:
        done(http, http.post(f"{PATH}/{volume_id}/attach", json={}))
    return volume_id


def freely(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Return an answer that is not that the comparison works on the volume just now."""
    answer: httpx.Response = eventually(
        "nobody works on it", lambda: answer if (answer := send()).status_code != 409 else None
    )
    return answer


def gone(http: httpx.Client, volume_id: str) -> None:
    for action in ("unexport", "detach"):
        done(http, freely(lambda action=action: http.post(f"{PATH}/{volume_id}/{action}")))
    done(http, freely(lambda: http.delete(f"{PATH}/{volume_id}")))


def row(lab: Lab, volume_id: str, name: str, path: str = "/dev/vdz") -> None:
    """Write rows as somebody would who has the database and wants an export."""
    there = "SELECT id FROM device_mappings WHERE volume_id = %s"
    if not sql(lab, there, volume_id, database=VOLUMES):
        columns = "volume_id, vm_id, device_path, cloudstack_state, linux_state, size, created_at, updated_at"
        values = "%s, %s, %s, 'attached', 'attached', %s, NOW(6), NOW(6)"
        statement = f"INSERT INTO device_mappings ({columns}) VALUES ({values})"
        sql(lab, statement, volume_id, oma(lab)["id"], path, 1 << 30, database=VOLUMES)
    columns = "volume_id, export_name, device_path, port, status, created_at, updated_at"
    values = "%s, %s, %s, 10809, 'active', NOW(6), NOW(6)"
    statement = f"INSERT INTO nbd_exports ({columns}) VALUES ({values})"
    sql(lab, statement, volume_id, name, path, database=VOLUMES)


def no_rows(lab: Lab, volume_id: str) -> bool:
    return not sql(lab, "SELECT id FROM nbd_exports WHERE volume_id = %s", volume_id, database=VOLUMES)


def served(lab: Lab) -> set[str]:
    return {path.name for path in (lab.run / "daemon" / "exports").iterdir()}


def test_every_action_has_a_rule() -> None:
    assert set(RULES) == set(ACTIONS)


# What is not ours.


def test_the_oma_s_own_root_disk_is_never_touched(own_lab: Lab, cloud: CloudStack, http: httpx.Client) -> None:
    root = root_of(cloud, oma(own_lab)["id"])
    assert codes(http, root) == dict.fromkeys(BODIES, "oma-disk")
    # Nor with our tag, nor with a row as well.
    tags = {"tags[0].key": "migratekit", "tags[0].value": SOURCE}
    cloud.createTags(resourceids=root, resourcetype="Volume", **tags)
    sql(own_lab, "INSERT INTO owned_volumes VALUES (%s, 'created', NULL, NOW(6))", root, database=VOLUMES)
    try:
        assert codes(http, root) == dict.fromkeys(BODIES, "oma-disk")
        row(own_lab, root, FORGED)
        eventually("the row is taken away", lambda: no_rows(own_lab, root))
        assert FORGED not in served(own_lab)
    finally:
        cloud.deleteTags(resourceids=root, resourcetype="Volume", **tags)
        sql(own_lab, "DELETE FROM owned_volumes WHERE volume_id = %s", root, database=VOLUMES)
        sql(own_lab, "DELETE FROM device_mappings WHERE volume_id = %s", root, database=VOLUMES)
    assert own_lab.cloud.volume(root)["virtualmachineid"] == oma(own_lab)["id"]


def test_another_s_volumes_stay_where_they_are(
    own_lab: Lab, cloud: CloudStack, http: httpx.Client, stranger: dict[str, Any]
) -> None:
    root, data = root_of(cloud, stranger["id"]), blank(own_lab, cloud, "theirs")
    # Even one that is attached to nothing.
    assert codes(http, data) == dict.fromkeys(BODIES, "not-ours")
    cloud.attachVolume(id=data, virtualmachineid=stranger["id"])
    for volume_id in (root, data):
        assert codes(http, volume_id) == dict.fromkeys(BODIES, "not-ours")
        assert own_lab.cloud.volume(volume_id)["virtualmachineid"] == stranger["id"]
    sql(own_lab, "INSERT INTO owned_volumes VALUES (%s, 'created', NULL, NOW(6))", data, database=VOLUMES)
    assert codes(http, data) == dict.fromkeys(BODIES, "not-ours"), "a row alone makes nothing ours"
    sql(own_lab, "DELETE FROM owned_volumes WHERE volume_id = %s", data, database=VOLUMES)


def test_another_s_snapshots_are_neither_copied_nor_deleted(
    own_lab: Lab, cloud: CloudStack, http: httpx.Client
) -> None:
    data = blank(own_lab, cloud, "theirs-too")
    cloud.attachVolume(id=data, virtualmachineid=oma(own_lab)["id"])
    taken = cloud.createSnapshot(volumeid=data)["snapshot"]["id"]
    deleted = ended(http, http.delete(f"/api/v1/snapshots/{taken}"))
    copied = ended(http, http.post(f"/api/v1/snapshots/{taken}/volume", json={"name": "x", "tags": TAGS}))
    assert [one["error"]["code"] for one in (deleted, copied)] == ["not-ours", "not-ours"]
    cloud.deleteSnapshot(id=taken)
    cloud.detachVolume(id=data)


def test_a_tag_alone_makes_nothing_ours(own_lab: Lab, cloud: CloudStack, http: httpx.Client) -> None:
    theirs = blank(own_lab, cloud, "another-oma-s", str(uuid.uuid4()))
    assert codes(http, theirs) == dict.fromkeys(BODIES, "no-record")
    # One whose source this installation knows may be taken away (cleanup --orphans), and nothing else.
    known = str(uuid.uuid4())
    orphan = blank(own_lab, cloud, "orphan", known)
    columns = (
        "id, source_vm_id, source_vm_name, source_vm_path, vcenter_host, datacenter, replication_type, status, "
        "progress_percent, bytes_transferred, total_bytes, transfer_speed_bps, created_at, updated_at"
    )
    values = "%s, %s, 'vm', '/vm', 'vc', 'dc', 'full', 'completed', 100, 0, 0, 0, NOW(6), NOW(6)"
    job = str(uuid.uuid4())
    sql(own_lab, f"INSERT INTO replication_jobs ({columns}) VALUES ({values})", job, known)
    sql(own_lab, "INSERT INTO source_vms VALUES (%s, 'vm', '/vm', %s, NULL)", known, job)
    assert set(codes(http, orphan, "attach", "export", "snapshot", "checksum").values()) == {"no-record"}
    done(http, http.delete(f"{PATH}/{orphan}"))
    assert orphan not in {one["id"] for one in own_lab.cloud.state()["volumes"]}


def test_a_volume_without_our_tag_is_not_made(http: httpx.Client) -> None:
    assert http.post(PATH, json={"name": "untagged", "size": MIB}).status_code == 422


def test_a_root_disk_of_another_s_machine_is_left(
    own_lab: Lab, cloud: CloudStack, http: httpx.Client, stranger: dict[str, Any]
) -> None:
    volume_id = ours(http, attach=False)
    cloud.detachVolume(id=root_of(cloud, stranger["id"]))
    done(http, http.post(f"{PATH}/{volume_id}/attach", json={"vm_id": stranger["id"], "device_id": 0}))
    assert set(codes(http, volume_id, "detach", "delete", "snapshot").values()) == {"root-disk"}
    assert own_lab.cloud.volume(volume_id)["virtualmachineid"] == stranger["id"]
    cloud.detachVolume(id=volume_id)
    eventually("CloudStack's lists show it", lambda: own_lab.cloud.volume(volume_id)["virtualmachineid"] is None)
    done(http, http.delete(f"{PATH}/{volume_id}"))


def test_the_record_goes_with_the_volume_and_not_before(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = ours(http)

    def owned() -> list[dict[str, Any]]:
        return sql(own_lab, "SELECT * FROM owned_volumes WHERE volume_id = %s", volume_id, database=VOLUMES)

    (found,) = owned()
    assert (found["origin"], found["confirmed_at"] is not None) == ("created", True)
    for table in ("nbd_exports", "device_mappings", "idempotency_keys", "volume_operations"):
        sql(own_lab, f"DELETE FROM {table}", database=VOLUMES)
    assert owned()
    gone(http, volume_id)
    assert not owned()


def test_a_record_that_is_lost_comes_back_by_what_else_is_known(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = ours(http)
    sql(own_lab, "DELETE FROM owned_volumes WHERE volume_id = %s", volume_id, database=VOLUMES)
    operation = ask(http, "export", volume_id)
    assert operation["error"]["code"] == "no-record"
    assert run(own_lab, "db", "upgrade").returncode == 0
    gone(http, volume_id)


# What somebody on the OMA uses.


@pytest.fixture
def used(own_lab: Lab, http: httpx.Client) -> Iterator[str]:
    """A volume of ours on the OMA, which the test has used by something; free again afterwards."""
    volume_id = ours(http)
    yield volume_id
    (proc(own_lab) / "self" / "mountinfo").unlink(missing_ok=True)
    (proc(own_lab) / "swaps").unlink(missing_ok=True)
    gone(http, volume_id)


IN_USE = ("attach", "export", "snapshot", "checksum", "detach", "delete")


def test_a_mounted_volume_is_left_alone(own_lab: Lab, http: httpx.Client, used: str) -> None:
    file = own_lab.cloud.volume(used)["file"]
    (proc(own_lab) / "self" / "mountinfo").write_text(f"36 25 0:44 / /mnt rw - ext4 {file} rw\n")
    assert codes(http, used, *IN_USE) == dict.fromkeys(IN_USE, "device-mounted")
    assert own_lab.cloud.volume(used)["virtualmachineid"]


def test_a_volume_that_is_swapped_to_is_left_alone(own_lab: Lab, http: httpx.Client, used: str) -> None:
    (proc(own_lab) / "swaps").write_text(f"Filename Type\n{own_lab.cloud.volume(used)['file']} partition 1 0 -2\n")
    assert codes(http, used, "export", "detach") == dict.fromkeys(("export", "detach"), "device-mounted")


def test_a_volume_that_is_part_of_lvm_is_left_alone(own_lab: Lab, http: httpx.Client, used: str) -> None:
    holders = linux(own_lab) / "sys" / "block" / Path(own_lab.cloud.volume(used)["file"]).name / "holders"
    holders.mkdir(parents=True)
    (holders / "dm-0").touch()
    try:
        assert codes(http, used, "export", "detach") == dict.fromkeys(("export", "detach"), "device-claimed")
    finally:
        (holders / "dm-0").unlink()
        holders.rmdir()
        holders.parent.rmdir()


def test_a_volume_that_a_process_has_open_is_left_alone(own_lab: Lab, http: httpx.Client, used: str) -> None:
    process = proc(own_lab) / str(os.getpid())
    (process / "fd").mkdir(parents=True)
    (process / "fd" / "7").symlink_to(own_lab.cloud.volume(used)["file"])
    try:
        assert codes(http, used, "export") == {"export": "device-open"}
    finally:
        (process / "fd" / "7").unlink()


# Rows are data.


def test_a_row_gives_nobody_an_export(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = ours(http)
    row(own_lab, volume_id, FORGED, own_lab.cloud.volume(volume_id)["file"])
    eventually("the row is taken away", lambda: no_rows(own_lab, volume_id))
    assert FORGED not in served(own_lab)
    row(own_lab, volume_id, FORGED, own_lab.cloud.volume(volume_id)["file"])
    answer = freely(lambda: http.post(f"{PATH}/{volume_id}/export", json=BODIES["export"]))
    name = done(http, answer)["export_name"]
    assert name != FORGED, "the daemon's own name, not the row's"
    assert served(own_lab) == {name}
    gone(http, volume_id)


BAD_NAMES = [
    "../daemon.secret-copy",
    "/etc/passwd",
    "x]\nexportname = /etc/shadow\nprerun = touch /tmp/ran\n[y",
    "migration-a-1-deadbeef\n[evil]",
    ".none",
    "migration-a-1-deadbeef/../../token",
    "",
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_row_s_name_is_neither_a_path_nor_a_configuration(own_lab: Lab, http: httpx.Client, name: str) -> None:
    bait = own_lab.run / "daemon" / "daemon.secret-copy"
    bait.write_text("bait")
    volume_id = ours(http)
    row(own_lab, volume_id, name, own_lab.cloud.volume(volume_id)["file"])
    done(http, freely(lambda: http.post(f"{PATH}/{volume_id}/unexport")))
    row(own_lab, volume_id, name, own_lab.cloud.volume(volume_id)["file"])
    eventually("the row is taken away", lambda: no_rows(own_lab, volume_id))
    assert bait.read_text() == "bait"
    assert served(own_lab) == set()
    gone(http, volume_id)


def test_a_row_that_takes_another_s_name_takes_nothing_from_it(own_lab: Lab, http: httpx.Client) -> None:
    first, second = ours(http), ours(http)
    name = done(http, http.post(f"{PATH}/{first}/export", json=BODIES["export"]))["export_name"]
    (kept,) = sql(own_lab, "SELECT * FROM nbd_exports WHERE volume_id = %s", first, database=VOLUMES)
    sql(own_lab, "UPDATE nbd_exports SET volume_id = %s WHERE id = %s", second, kept["id"], database=VOLUMES)
    done(http, freely(lambda: http.post(f"{PATH}/{second}/unexport")))
    assert (own_lab.run / "daemon" / "exports" / name).resolve() == Path(own_lab.cloud.volume(first)["file"])
    row(own_lab, first, name, kept["device_path"])
    for volume_id in (first, second):
        gone(http, volume_id)
