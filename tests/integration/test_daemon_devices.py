"""The daemon on an OMA whose disks Linux names in every way: attached, exported, written, hashed, detached."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import nbd
import pytest
from blake3 import blake3

from migratekit_core.common.files import write_private
from tests.integration.daemon_api import done, ended
from tests.integration.machines import machine, thin
from tests.integration.support import GIB, MIB, eventually, run, sql
from tests.lab.cloudstack.disks import NAMINGS
from tests.lab.guest import Images
from tests.lab.lab import ROOT, Lab, running
from tests.lab.parts.process import answers, launch, wait_until

TAGS = {"migratekit": "00000000-0000-0000-0000-00000000000e"}
PATH = "/api/v1/volumes"
ONE_DISK = tuple(kind for kind in NAMINGS if kind != "same-serial")


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine("unused", thin(MIB))]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose daemon looks into the /sys/block and /dev that CloudStack's double keeps of the OMA."""
    with running(tmp_path_factory.mktemp("devices") / "run", preferred_ports=False, inventory=inventory) as lab:
        text = lab.daemon_config.read_text()
        settings = "device_timeout = 4\nsettle_timeout = 1.5\nreconcile_interval = 0.3"
        write_private(lab.daemon_config, text.replace("device_timeout = 10", settings))
        lab.parts["daemon"].stop()
        command = [sys.executable, "-m", "tests.integration.placed_daemon", str(lab.daemon_config), str(linux(lab))]
        lab.parts["daemon"] = launch("daemon", command, lab.run, cwd=ROOT)
        wait_until(lambda: answers(lab.ports["daemon"]), lab.parts["daemon"])
        yield lab


def linux(lab: Lab) -> Path:
    """Return the folder of what the OMA's Linux shows."""
    oma = lab.cloud.machine("oma01")
    assert oma is not None
    return Path(oma["byid"]).parent


@pytest.fixture
def http(own_lab: Lab) -> Iterator[httpx.Client]:
    """The daemon's API; nothing that a test made is there afterwards."""
    headers = {"Authorization": f"Bearer {own_lab.secrets['daemon']}"}
    base = f"http://127.0.0.1:{own_lab.ports['daemon']}"
    with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
        yield client
        own_lab.cloud.clear_faults()
        for volume in client.get(PATH).json()["volumes"]:
            for action in ("unexport", "detach"):
                done(client, client.post(f"{PATH}/{volume['id']}/{action}"))
            done(client, client.delete(f"{PATH}/{volume['id']}"))


def made(http: httpx.Client) -> str:
    body = {"name": "disk", "size": MIB, "tags": TAGS}
    return str(done(http, http.post(PATH, json=body))["volume_id"])


def export(http: httpx.Client, volume_id: str) -> str:
    body = {"vm_name": "named", "disk": "1"}
    return str(done(http, http.post(f"{PATH}/{volume_id}/export", json=body))["export_name"])


def connected(lab: Lab, name: str) -> Any:
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_tcp("127.0.0.1", str(lab.ports["nbd"]))
    return handle


def drift(http: httpx.Client) -> dict[str | None, str]:
    """Return the drift that a comparison found which was begun after now."""
    report = http.get(PATH).json()["reconcile"]
    seen = [report["compared_at"]]

    def later() -> Any:
        found = http.get(PATH).json()["reconcile"]
        if found["compared_at"] not in seen:
            seen.append(found["compared_at"])
        # The first may have looked before.
        return found if len(seen) > 2 and not found["skipped"] else None

    found = eventually("two more comparisons", later)
    return {one["volume_id"]: one["kind"] for one in found["drift"]}


@pytest.mark.parametrize("naming", ONE_DISK)
def test_attached_exported_written_hashed_detached(own_lab: Lab, http: httpx.Client, naming: str) -> None:
    others = [made(http), made(http)]
    for volume_id in others:
        own_lab.cloud.fault(command="attachVolume", mode=naming)
        done(http, http.post(f"{PATH}/{volume_id}/attach", json={}))
    volume_id = made(http)
    own_lab.cloud.fault(command="attachVolume", mode=naming)
    file = Path(own_lab.cloud.state()["config"]["state"]) / "volumes" / f"{volume_id}.raw"
    attached = done(http, http.post(f"{PATH}/{volume_id}/attach", json={}))
    assert (attached["device_path"], attached["size"]) == (str(file), GIB)
    handle = connected(own_lab, export(http, volume_id))
    text = f"written as {naming}".encode()
    handle.pwrite(text, 4096)
    handle.flush()
    busy = ended(http, http.post(f"{PATH}/{volume_id}/unexport"))
    assert (busy["status"], busy["error"]["exit_code"]) == ("failed", 8)
    # Whatever name it is served under is the volume's own, also while somebody is connected.
    assert drift(http) == {}
    handle.shutdown()
    with file.open("rb") as opened:
        opened.seek(4096)
        assert opened.read(len(text)) == text
        opened.seek(0)
        wanted = blake3(opened.read(MIB)).hexdigest()
    assert done(http, http.post(f"{PATH}/{volume_id}/checksum", json={"length": MIB}))["digest"] == wanted
    done(http, http.post(f"{PATH}/{volume_id}/unexport"))
    assert done(http, http.post(f"{PATH}/{volume_id}/detach"))["vm_id"]
    left = {one["id"]: one["linux_state"] for one in http.get(PATH).json()["volumes"]}
    assert left == {volume_id: "absent", **dict.fromkeys(others, "attached")}


def test_two_disks_with_one_serial_are_refused(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = made(http)
    own_lab.cloud.fault(command="attachVolume", mode="same-serial")
    failed = ended(http, http.post(f"{PATH}/{volume_id}/attach", json={}))
    assert failed["status"] == "failed"
    assert failed["error"]["code"] == "same-serial"
    file, twin = own_lab.cloud.volume(volume_id)["file"], str(linux(own_lab) / "dev" / "twin.raw")
    assert failed["error"]["why"] == ", ".join(sorted((file, twin)))
    for action, body in (("export", {"vm_name": "x", "disk": "1"}), ("checksum", {"length": MIB}), ("detach", None)):
        again = ended(http, http.post(f"{PATH}/{volume_id}/{action}", json=body))
        assert (again["status"], again["error"]["code"]) == ("failed", "same-serial"), action
    # Nothing was read or written, and the operator is told.
    assert drift(http) == {volume_id: "same-serial"}
    told = run(own_lab, "volumes", "drift")
    assert told.returncode == 1
    assert file in told.stdout
    assert twin in told.stdout
    # With the other disk gone it is the volume's.
    (shown,) = [one for one in (linux(own_lab) / "dev").iterdir() if one.is_symlink() and one.resolve() == Path(twin)]
    Path(twin).unlink()
    shown.unlink()
    assert done(http, http.post(f"{PATH}/{volume_id}/attach", json={}))["device_path"] == file
    assert drift(http) == {}


def test_an_export_of_a_disk_that_gets_a_rival_is_taken_back_and_not_detached(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = made(http)
    own_lab.cloud.fault(command="attachVolume", mode="no-link")
    done(http, http.post(f"{PATH}/{volume_id}/attach", json={}))
    name = export(http, volume_id)
    handle = connected(own_lab, name)
    handle.pwrite(b"before", 0)
    rival = linux(own_lab) / "dev" / "rival.raw"
    rival.touch()
    os.truncate(rival, GIB)
    (linux(own_lab) / "by-id" / f"virtio-{volume_id[:20]}").symlink_to(rival)
    try:
        assert drift(http) == {volume_id: "same-serial"}
        # The row stays as it was, and so does who is connected.
        (row,) = sql(
            own_lab, "SELECT * FROM device_mappings WHERE volume_id = %s", volume_id, database="migratekit_volumes"
        )
        assert (row["cloudstack_state"], row["linux_state"]) == ("attached", "attached")
        busy = ended(http, http.post(f"{PATH}/{volume_id}/unexport"))
        assert (busy["status"], busy["error"]["exit_code"]) == ("failed", 8)
        assert bytes(handle.pread(6, 0)) == b"before"
        handle.shutdown()
        done(http, http.post(f"{PATH}/{volume_id}/unexport"))
        assert ended(http, http.post(f"{PATH}/{volume_id}/detach"))["error"]["code"] == "same-serial"
        assert own_lab.cloud.volume(volume_id)["virtualmachineid"]
    finally:
        (linux(own_lab) / "by-id" / f"virtio-{volume_id[:20]}").unlink()
        rival.unlink()
