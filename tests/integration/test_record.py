"""`--record FILE` of real commands: no secret in it, and the lab's double answers the same when it is asked again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from migratekit_core.common.files import write_private
from tests.integration.daemon_api import done, ended
from tests.integration.replay import again, recordings
from tests.integration.support import GIB, leaked, setting
from tests.lab.lab import COMMAND, ROOT, Lab, environment
from tests.lab.parts import cloud as parts
from tests.lab.parts import oma, process, vcenter
from tests.lab.parts.cloud import Cloud

TOKEN, TAGS = "a-token-of-the-daemon", {"migratekit": "00000000-0000-0000-0000-0000000000aa"}


@pytest.fixture
def clouds(tmp_path: Path) -> Iterator[tuple[Cloud, Cloud]]:
    """Two doubles that have just begun."""
    folders = [tmp_path / "first", tmp_path / "second"]
    try:
        for folder in folders:
            folder.mkdir()
        first, second = (parts.start(folder, ROOT, process.choose_port(None)) for folder in folders)
        yield first, second
    finally:
        for folder in folders:
            process.end_all(folder)


def test_what_a_daemon_and_a_command_were_told_is_answered_again(clouds: tuple[Cloud, Cloud], tmp_path: Path) -> None:
    asked, fresh = clouds
    port, run = process.choose_port(None), tmp_path / "first"
    machine = asked.machine("oma01")
    assert machine is not None
    for name, secret in (("api", asked.api_key), ("secret", asked.secret_key), ("token", TOKEN)):
        write_private(run / name, secret)
    write_private(
        run / "config.toml",
        f"""\
[daemon]
port = {port}
token_file = "{run}/token"
device_dir = "{machine["byid"]}"
state_dir = "{run}/daemon"
nbd_port = {process.choose_port(None)}

[database]
kind = "sqlite"
directory = "{run}/db"

[ossea]
api_url = "{asked.url}"
api_key = {{ file = "{run}/api" }}
secret_key = {{ file = "{run}/secret" }}
zone = "lab-zone-1"
service_offering = "Custom Instance"
disk_offering = "Custom"
template = "migratekit-shell"
oma_vm = "oma01"
""",
    )
    command = [str(COMMAND), "--config", str(run / "config.toml")]
    subprocess.run([*command, "db", "upgrade"], env=environment(), check=True, capture_output=True)
    both = tmp_path / "record.jsonl"
    recorded = {**environment(), "MIGRATEKIT_RECORD": str(both)}
    daemon = oma.start_daemon(run, COMMAND, run / "config.toml", port, {"MIGRATEKIT_RECORD": str(both)})
    base = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False) as api:
        body = {"name": "disk", "size": GIB, "tags": TAGS}
        volume_id = done(api, api.post("/api/v1/volumes", json=body))["volume_id"]
        done(api, api.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
        done(api, api.post(f"/api/v1/volumes/{volume_id}/snapshot", json={"name": "before"}))
        assert ended(api, api.delete(f"/api/v1/volumes/{volume_id}"))["status"] == "failed"
        done(api, api.post(f"/api/v1/volumes/{volume_id}/detach"))
        asked.fault(command="deleteVolume", mode="error", errorcode=431, cserrorcode=4350, text="not now")
        assert ended(api, api.delete(f"/api/v1/volumes/{volume_id}"))["status"] == "failed"
        done(api, api.delete(f"/api/v1/volumes/{volume_id}"))
    doctor = subprocess.run(
        [*command, "doctor", "--topic", "cloudstack", "--probe"],
        env=recorded,
        check=False,
        capture_output=True,
        text=True,
    )
    assert doctor.returncode == 0, doctor.stdout
    daemon.stop()
    oma.end_servers(run / "daemon")

    found = recordings.read(both)
    commands = {one.command for one in found}
    assert commands >= {"createVolume", "createTags", "attachVolume", "detachVolume", "createSnapshot", "deleteVolume",
                        "listVolumes", "listApis", "listCapabilities"}  # fmt: skip
    apis = json.loads((recordings.DATA / "apis.json").read_text())
    for one in found:
        assert (one.job is not None) == apis[one.command]["async"], one.name
        assert one.method == "POST"
    text = both.read_text()
    assert [secret for secret in (asked.api_key, asked.secret_key, TOKEN) if secret in text] == []
    assert [one.body["errortext"] for one in found if one.http == 431] == ["not now"]
    fresh.fault(command="deleteVolume", mode="error", errorcode=431, cserrorcode=4350, text="not now")
    assert [*again.differences(fresh, found)] == []
    # Without what was asked before, no cloud has that volume.
    deletion = [one for one in found if one.command == "deleteVolume" and one.http == 200]
    assert [line for line in again.differences(fresh, deletion) if "HTTP 200 was recorded, now it is 431" in line]


def test_a_migrations_recordings_hold_no_secret_of_the_lab(lab: Lab, tmp_path: Path) -> None:
    mine, theirs = tmp_path / "vma.jsonl", tmp_path / "oma.jsonl"
    lab.parts["daemon"].stop()
    lab.restart_daemon(MIGRATEKIT_RECORD=str(theirs))
    try:
        for arguments in (["replicate", "record01"], ["test-failover", "record01"], ["cleanup", "record01"]):
            done = lab.migratekit("--record", str(mine), *arguments, env=setting(lab))
            assert done.returncode == 0, done.stderr
    finally:
        lab.parts["daemon"].stop()
        lab.restart_daemon()
    commands = {path: {one.command for one in recordings.read(path)} for path in (mine, theirs)}
    assert commands[mine] >= {"deployVirtualMachine", "startVirtualMachine", "destroyVirtualMachine"}
    assert commands[theirs] >= {"createVolume", "attachVolume", "createSnapshot", "detachVolume"}
    for path in (mine, theirs):
        text = path.read_text()
        assert leaked(lab, text) == []
        for one in recordings.read(path):
            assert not {"apikey", "signature", "expires"} & {name.casefold() for name in one.parameters}
        assert "record01" in text
    of_vsphere(lab, mine)


def of_vsphere(lab: Lab, path: Path) -> None:
    """What was said to vCenter is there, and nobody's name in it."""
    lines = [row for line in path.read_text().splitlines() for row in json.loads(line).values() if "api" in row]
    called = {row["command"] for row in lines}
    assert called >= {
        "Login", "RetrievePropertiesEx", "CreateSnapshot_Task", "QueryChangedDiskAreas", "RemoveSnapshot_Task",
    }  # fmt: skip
    assert all(row["http"] == 200 and row["seconds"] >= 0 for row in lines)
    assert {row["object"] for row in lines if row["command"] == "CreateSnapshot_Task"} == {
        f"VirtualMachine:{lab.vcenter.vm('record01')['id']}"
    }
    assert any("config.hardware.device" in row.get("properties", ()) for row in lines)
    areas = next(row for row in lines if row["command"] == "QueryChangedDiskAreas")
    assert (areas["arguments"]["deviceKey"], areas["arguments"]["changeId"]) == ("2000", "*")
    text = "\n".join(map(json.dumps, lines))
    names = {vm["name"] for vm in lab.vcenter.http.get("/lab/vms").json()["vms"]}
    private = {*names, "LocalDS_0", "VM Network", "DC0_DVPG0", "DC0_C0", vcenter.USER, "10.1.1.77", "00:50:56:00:00:77"}
    assert [name for name in private if json.dumps(name)[1:-1] in text and name not in ("twin", "main", "deep")] == []
