"""The volume daemon through its own API: who may ask, what it refuses, and what survives when it is killed."""

from __future__ import annotations

import re
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import nbd
import pytest
from blake3 import blake3

from migratekit_core.common.files import write_private
from migratekit_core.engine.digests.blocks import unpack
from tests.integration.daemon_api import done, ended
from tests.integration.machines import machine, thin
from tests.integration.support import GIB, MIB, eventually, sql
from tests.lab.guest import Images
from tests.lab.lab import COMMAND, Lab, running

TAGS = {"migratekit": "00000000-0000-0000-0000-000000000001"}


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine("unused", thin(MIB))]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose daemon is killed; it waits two seconds for a device."""
    with running(tmp_path_factory.mktemp("daemon") / "run", preferred_ports=False, inventory=inventory) as started_lab:
        text = started_lab.daemon_config.read_text()
        write_private(started_lab.daemon_config, text.replace("device_timeout = 10", "device_timeout = 2"))
        started_lab.parts["daemon"].stop()
        started_lab.restart_daemon()
        yield started_lab


@pytest.fixture
def lab(own_lab: Lab) -> Iterator[Lab]:
    """The lab, without attached volumes, exports and faults afterwards: a machine takes 13 data disks."""
    yield own_lab
    own_lab.cloud.clear_faults()
    with api(own_lab) as http:
        for volume in http.get("/api/v1/volumes").json()["volumes"]:
            for action in ("unexport", "detach"):
                if volume["vm_id"]:
                    ended(http, http.post(f"/api/v1/volumes/{volume['id']}/{action}"))
            ended(http, http.delete(f"/api/v1/volumes/{volume['id']}"))


def api(lab: Lab, token: str | None = None) -> httpx.Client:
    """Return a client of the daemon's port on loopback."""
    headers = {"Authorization": f"Bearer {lab.secrets['daemon'] if token is None else token}"}
    return httpx.Client(
        base_url=f"http://127.0.0.1:{lab.ports['daemon']}", headers=headers, timeout=60, trust_env=False
    )


def failed(http: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """Return the error of an operation that has to fail."""
    operation = ended(http, answer)
    assert operation["status"] == "failed", operation
    error: dict[str, Any] = operation["error"]
    return error


def create(http: httpx.Client, name: str = "disk", key: str | None = None) -> httpx.Response:
    headers = {"Idempotency-Key": key} if key else {}
    return http.post("/api/v1/volumes", json={"name": name, "size": MIB, "tags": TAGS}, headers=headers)


def attached(http: httpx.Client, name: str = "disk") -> tuple[str, str]:
    """Return the id and the device of a new volume that is attached to the OMA."""
    volume_id = done(http, create(http, name))["volume_id"]
    return volume_id, done(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))["device_path"]


def exported(http: httpx.Client, volume_id: str) -> str:
    body = {"vm_name": "Web 01.example", "disk": "2000"}
    return str(done(http, http.post(f"/api/v1/volumes/{volume_id}/export", json=body))["export_name"])


def client_of(lab: Lab, name: str) -> Any:
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_tcp("127.0.0.1", str(lab.ports["nbd"]))
    return handle


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """Check an answer's form (RFC 9457), and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    fields: dict[str, Any] = answer.json()
    assert fields["status"] == status
    assert {"type", "title", "detail", "instance", "request_id"} <= fields.keys()
    assert fields["request_id"] == answer.headers["X-Request-Id"]
    return fields


def named(lab: Lab, part: str) -> list[dict[str, Any]]:
    """Return the cloud's volumes whose name has this part."""
    return [volume for volume in lab.cloud.state()["volumes"] if part in volume["name"]]


# Who may ask.


@pytest.mark.parametrize("token", ["wrong", "wröng".encode().hex()])
def test_without_the_token_nothing_is_told(lab: Lab, token: str) -> None:
    with api(lab, token) as http:
        assert http.get("/health").json()["status"] == "ok"
        for path in ("/api/v1/volumes", "/api/v1/volumes/x", "/api/v1/operations", "/api/v1/jobs/x/progress"):
            answer = http.get(path)
            problem(answer, 401)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        problem(create(http, "unasked"), 401)
        problem(http.delete("/api/v1/volumes/x"), 401)
        http.headers.pop("Authorization")
        problem(http.get("/api/v1/volumes"), 401)
    assert named(lab, "unasked") == []


def test_a_replaced_token_holds_without_a_restart(lab: Lab) -> None:
    old, new = lab.secrets["daemon"], "the-token-after-the-change"
    path = lab.run / "daemon.secret"
    write_private(path, new + "\n")
    try:
        with api(lab, new) as http:
            assert http.get("/api/v1/volumes").status_code == 200
        with api(lab, old) as http:
            problem(http.get("/api/v1/volumes"), 401)
    finally:
        write_private(path, old + "\n")
    with api(lab) as http:
        assert http.get("/api/v1/volumes").status_code == 200


# What is asked.


@pytest.mark.parametrize(
    "body", [{}, {"name": "x", "size": 0}, {"name": "x", "size": 1, "sise": 2}, {"name": "", "size": 1}]
)
def test_malformed_requests(lab: Lab, body: dict[str, Any]) -> None:
    with api(lab) as http:
        fields = problem(http.post("/api/v1/volumes", json=body), 422)
    assert fields["exit_code"] == 2


def test_what_does_not_exist(lab: Lab) -> None:
    nobody = str(uuid.uuid4())
    with api(lab) as http:
        problem(http.get(f"/api/v1/volumes/{nobody}"), 404)
        problem(http.get(f"/api/v1/operations/{nobody}"), 404)
        assert "no volume" in failed(http, http.post(f"/api/v1/volumes/{nobody}/attach", json={}))["what"]
        # Taking away what is not there is no error: that is what a retry after a crash does.
        assert done(http, http.delete(f"/api/v1/volumes/{nobody}"))["existed"] is False


def test_the_same_key_is_the_same_operation_and_one_volume(lab: Lab) -> None:
    key = str(uuid.uuid4())
    with api(lab) as http:
        answers = [create(http, "once", key) for _ in range(3)]
        assert len({answer.json()["id"] for answer in answers}) == 1
        done(http, answers[0])
        late = create(http, "once", key)
        assert late.json()["id"] == answers[0].json()["id"]
        fields = problem(create(http, "other", key), 422)
        assert "idempotency key" in fields["what"]
    assert len(named(lab, "once")) == 1
    assert named(lab, "other") == []


def test_a_failed_operation_is_tried_again_under_its_key(lab: Lab) -> None:
    key = str(uuid.uuid4())
    lab.cloud.fault(command="createVolume", mode="error", errorcode=530, text="not now")
    with api(lab) as http:
        assert "not now" in failed(http, create(http, "again", key))["why"]
        done(http, create(http, "again", key))
    assert len(named(lab, "again")) == 1


def test_what_is_gone_is_made_anew_under_its_key(lab: Lab) -> None:
    keys = [str(uuid.uuid4()) for _ in range(2)]
    with api(lab) as http:

        def made(number: int, send: Callable[[str], httpx.Response], name: str) -> list[str]:
            return [str(done(http, send(keys[number]))[name]) for _ in range(2)]

        volume_id, again = made(0, lambda key: create(http, "gone", key), "volume_id")
        assert again == volume_id
        # Attached once, it is allocated, and can be snapshotted.
        done(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
        done(http, http.post(f"/api/v1/volumes/{volume_id}/detach"))

        def take(key: str) -> httpx.Response:
            path = f"/api/v1/volumes/{volume_id}/snapshot"
            return http.post(path, json={"name": "gone"}, headers={"Idempotency-Key": key})

        snapshot_id, again = made(1, take, "snapshot_id")
        assert again == snapshot_id
        done(http, http.delete(f"/api/v1/snapshots/{snapshot_id}"))
        anew, again = made(1, take, "snapshot_id")
        assert anew == again != snapshot_id
        assert [one["id"] for one in http.get(f"/api/v1/volumes/{volume_id}").json()["snapshots"]] == [anew]
        done(http, http.delete(f"/api/v1/snapshots/{anew}"))
        done(http, http.delete(f"/api/v1/volumes/{volume_id}"))
        anew, again = made(0, lambda key: create(http, "gone", key), "volume_id")
        assert anew == again != volume_id
    assert [one["id"] for one in named(lab, "gone")] == [anew]


def test_a_second_writer_is_told_of_the_first(lab: Lab) -> None:
    with api(lab) as http:
        volume_id = done(http, create(http))["volume_id"]
        lab.cloud.fault(command="attachVolume", mode="slow", seconds=1)
        first = http.post(f"/api/v1/volumes/{volume_id}/attach", json={})
        fields = problem(http.post(f"/api/v1/volumes/{volume_id}/detach"), 409)
        assert f"operation {first.json()['id']} (attach)" in fields["detail"]
        assert fields["exit_code"] == 8
        done(http, first)


# Devices.


def test_attaching_finds_the_device_by_its_serial(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, device = attached(http)
        shown = http.get(f"/api/v1/volumes/{volume_id}").json()
    assert device == lab.cloud.volume(volume_id)["file"]
    assert (shown["cloudstack_state"], shown["linux_state"]) == ("attached", "attached")
    assert shown["size"] == GIB


def test_a_serial_with_dashes_is_found_too(lab: Lab) -> None:
    lab.cloud.fault(command="attachVolume", mode="dashed-serial")
    with api(lab) as http:
        volume_id, device = attached(http)
        assert device == lab.cloud.volume(volume_id)["file"]
        assert exported(http, volume_id)


def test_a_device_that_does_not_appear(lab: Lab) -> None:
    lab.cloud.fault(command="attachVolume", mode="no-device")
    with api(lab) as http:
        volume_id = done(http, create(http))["volume_id"]
        error = failed(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
        assert "Linux does not see it" in error["what"]
        assert volume_id.replace("-", "")[:20] in error["why"]
        shown = http.get(f"/api/v1/volumes/{volume_id}").json()
        assert shown["linux_state"] == "absent"
        answer = http.post(f"/api/v1/volumes/{volume_id}/export", json={"vm_name": "x", "disk": "1"})
        assert "not attached" in failed(http, answer)["why"]


def test_a_device_of_another_size_is_not_the_volume(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other.raw"
    with other.open("wb") as file:
        file.truncate(2 * GIB)
    oma = lab.cloud.machine("oma01")
    assert oma is not None
    lab.cloud.fault(command="attachVolume", mode="no-device")
    with api(lab) as http:
        volume_id = done(http, create(http))["volume_id"]
        link = Path(oma["byid"]) / f"virtio-{volume_id.replace('-', '')[:20]}"
        link.symlink_to(other)
        try:
            error = failed(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
            assert "is not volume" in error["what"]
            assert f"it has {2 * GIB} bytes, CloudStack says {GIB}" in error["why"]
        finally:
            link.unlink()


# Exports.


def test_only_what_is_attached_is_exported(lab: Lab) -> None:
    with api(lab) as http:
        volume_id = done(http, create(http))["volume_id"]
        answer = http.post(f"/api/v1/volumes/{volume_id}/export", json={"vm_name": "x", "disk": "1"})
        error = failed(http, answer)
    assert (error["exit_code"], error["why"]) == (4, "it is not attached to the OMA")


def test_an_export_has_a_name_that_cannot_be_guessed_and_is_the_volume(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, device = attached(http)
        name = exported(http, volume_id)
        assert re.fullmatch(r"migration-Web-01-example-2000-[0-9a-f]{8}", name)
        assert exported(http, volume_id) == name
        handle = client_of(lab, name)
        handle.pwrite(b"through the export", 4096)
        handle.flush()
        handle.shutdown()
        with Path(device).open("rb") as file:
            file.seek(4096)
            assert file.read(18) == b"through the export"
        done(http, http.post(f"/api/v1/volumes/{volume_id}/unexport"))
        with pytest.raises(nbd.Error):
            client_of(lab, name)
        assert exported(http, volume_id) != name


def test_what_is_exported_is_neither_detached_nor_deleted(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, _ = attached(http)
        name = exported(http, volume_id)
        error = failed(http, http.post(f"/api/v1/volumes/{volume_id}/detach"))
        assert (error["exit_code"], error["why"]) == (4, f"as {name}")
        assert "is attached" in failed(http, http.delete(f"/api/v1/volumes/{volume_id}"))["what"]
    assert lab.cloud.volume(volume_id)["virtualmachineid"]


def test_an_export_in_use_is_not_taken_back(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, _ = attached(http)
        handle = client_of(lab, exported(http, volume_id))
        error = failed(http, http.post(f"/api/v1/volumes/{volume_id}/unexport"))
        assert error["exit_code"] == 8
        assert "1 connections are open" in error["why"]
        handle.pwrite(b"still here", 0)
        handle.shutdown()
        eventually("it can be taken back", lambda: unexported(http, volume_id), 10)


def unexported(http: httpx.Client, volume_id: str) -> bool:
    return bool(ended(http, http.post(f"/api/v1/volumes/{volume_id}/unexport"))["status"] == "completed")


def test_other_exports_come_and_go_without_disturbing_a_connection(lab: Lab) -> None:
    with api(lab) as http:
        first, _ = attached(http, "first")
        handle = client_of(lab, exported(http, first))
        second, _ = attached(http, "second")
        exported(http, second)
        done(http, http.post(f"/api/v1/volumes/{second}/unexport"))
        done(http, http.post(f"/api/v1/volumes/{second}/detach"))
        handle.pwrite(b"undisturbed", 512)
        assert bytes(handle.pread(11, 512)) == b"undisturbed"
        handle.shutdown()


def test_checksum_is_of_the_device(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, device = attached(http)
        with Path(device).open("r+b") as file:
            file.write(b"content")
        answer = done(http, http.post(f"/api/v1/volumes/{volume_id}/checksum", json={"length": MIB + 512}))
    wanted = blake3(b"content".ljust(MIB + 512, b"\0")).hexdigest()
    assert (answer["digest"], answer["length"]) == (wanted, MIB + 512)


def test_checksums_of_blocks(lab: Lab) -> None:
    block = 64 << 10
    with api(lab) as http:
        volume_id, device = attached(http)
        with Path(device).open("r+b") as file:
            file.seek(3 * block - 100)
            file.write(b"x" * 200)

        def ask(**body: object) -> httpx.Response:
            return http.post(f"/api/v1/volumes/{volume_id}/checksum", json=body)

        ranges = [[0, 2 * block], [3 * block - 1000, 2000], [GIB - 512, 512]]
        answer = done(http, ask(block_size=block, ranges=ranges))
        assert ask(block_size=block).status_code == 422
        assert ask(ranges=[[0, 512]]).status_code == 422
        assert ask(block_size=block, ranges=[[512, 512], [0, 512]]).status_code == 422
        assert ask(block_size=block, ranges=[[0, 5000 * block]]).status_code == 422
        behind = failed(http, ask(block_size=block, ranges=[[GIB - 512, 1024]]))
    wanted = [bytes(block), bytes(block), bytes(900) + b"x" * 100, b"x" * 100 + bytes(900), bytes(512)]
    assert unpack(answer["digests"], answer["blocks"]) == [blake3(data).digest() for data in wanted]
    # Holes are not read, and count as the zeros that they are.
    assert (answer["length"], answer["read"]) == (2 * block + 2000 + 512, 2000)
    assert (behind["exit_code"], "shorter" in behind["what"]) == (4, True)


# Killed.


def killed_during(lab: Lab, http: httpx.Client, command: str, answer: httpx.Response) -> dict[str, Any]:
    """Kill the daemon while CloudStack works on a command for it, start it again, and return the operation's end."""
    eventually(f"{command} is under way", lambda: running_jobs(lab, command), 20)
    lab.parts["daemon"].kill()
    lab.restart_daemon()
    return ended(http, answer)


def running_jobs(lab: Lab, command: str) -> list[Any]:
    return [job for job in lab.cloud.state()["jobs"] if command.lower() in job["cmd"].lower() and job["jobstatus"] == 0]


def test_killed_while_it_creates_a_volume(lab: Lab) -> None:
    key = str(uuid.uuid4())
    lab.cloud.fault(command="createVolume", mode="slow", seconds=1.5)
    with api(lab) as http:
        operation = killed_during(lab, http, "createVolume", create(http, "killed", key))
        assert operation["status"] == "completed", operation["error"]
        volume_id = operation["response"]["volume_id"]
        assert create(http, "killed", key).json()["response"]["volume_id"] == volume_id
        shown = http.get(f"/api/v1/volumes/{volume_id}").json()
    assert [volume["id"] for volume in named(lab, "killed")] == [volume_id]
    assert shown["tags"].items() >= TAGS.items()


def test_killed_while_it_attaches_a_volume(lab: Lab) -> None:
    with api(lab) as http:
        volume_id = done(http, create(http))["volume_id"]
        lab.cloud.fault(command="attachVolume", mode="slow", seconds=1.5)
        answer = http.post(f"/api/v1/volumes/{volume_id}/attach", json={})
        operation = killed_during(lab, http, "attachVolume", answer)
        assert operation["status"] == "completed", operation["error"]
    (mapping,) = sql(
        lab, "SELECT * FROM device_mappings WHERE volume_id = %s", volume_id, database="migratekit_volumes"
    )
    oma = lab.cloud.machine("oma01")
    assert oma is not None
    assert (mapping["vm_id"], mapping["device_path"]) == (oma["id"], lab.cloud.volume(volume_id)["file"])
    assert (mapping["cloudstack_state"], mapping["linux_state"]) == ("attached", "attached")
    assert lab.cloud.volume(volume_id)["virtualmachineid"] == oma["id"]


def test_killed_while_it_detaches_a_volume(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, _ = attached(http)
        lab.cloud.fault(command="detachVolume", mode="slow", seconds=1.5)
        operation = killed_during(lab, http, "detachVolume", http.post(f"/api/v1/volumes/{volume_id}/detach"))
        assert operation["status"] == "completed", operation["error"]
        assert http.get(f"/api/v1/volumes/{volume_id}").json()["linux_state"] == "absent"
    assert lab.cloud.volume(volume_id)["virtualmachineid"] is None


def test_killed_the_exporter_and_its_connections_live_on(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, _ = attached(http)
        name = exported(http, volume_id)
        handle = client_of(lab, name)
        handle.pwrite(b"before", 0)
        lab.parts["daemon"].kill()
        handle.pwrite(b"without a daemon", 4096)
        lab.restart_daemon()
        handle.pwrite(b"after", 8192)
        handle.flush()
        found = [bytes(handle.pread(size, at)) for at, size in ((0, 6), (4096, 16), (8192, 5))]
        assert found == [b"before", b"without a daemon", b"after"]
        handle.shutdown()
        assert exported(http, volume_id) == name
        other = client_of(lab, name)
        assert bytes(other.pread(6, 0)) == b"before"
        other.shutdown()


def test_an_export_that_no_row_knows_is_gone_after_a_restart(lab: Lab) -> None:
    with api(lab) as http:
        volume_id, device = attached(http)
        name = exported(http, volume_id)
    stray = lab.run / "daemon" / "exports" / "migration-stray-1-00000000"
    stray.symlink_to(device)
    lab.parts["daemon"].kill()
    lab.restart_daemon()
    assert [path.name for path in stray.parent.iterdir()] == [name]


def test_two_daemons_cannot_run(lab: Lab) -> None:
    command = [str(COMMAND), "--config", str(lab.daemon_config), "volumes", "daemon", "run"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode == 8
    assert f"pid {lab.parts['daemon'].process.pid}" in said.stderr
