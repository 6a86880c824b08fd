"""The periodic reconcile, on a lab that is damaged on purpose: what is found, repaired, left alone, and told where."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import nbd
import pytest
from cs import CloudStack

from migratekit_core.common.files import write_private
from tests.integration.daemon_api import done, ended
from tests.integration.machines import machine, thin
from tests.integration.support import GIB, MIB, eventually, report, run, sql
from tests.lab.guest import Images
from tests.lab.lab import ROOT, Lab, running

TAGS = {"migratekit": "00000000-0000-0000-0000-00000000000d"}
ELSEWHERE = "elsewhere01"
SECONDS = 45
VOLUMES = "migratekit_volumes"


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine("unused", thin(MIB))]}


@pytest.fixture(scope="module")
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab whose daemon compares all the time, and trusts CloudStack's lists after a second."""
    with running(tmp_path_factory.mktemp("drift") / "run", preferred_ports=False, inventory=inventory) as lab:
        settings = "device_timeout = 2\nsettle_timeout = 1.5\nreconcile_interval = 0.3"
        text = lab.daemon_config.read_text().replace("device_timeout = 10", settings)
        write_private(lab.daemon_config, text)
        restart(lab)
        yield lab


def restart(lab: Lab, **env: str) -> None:
    lab.parts["daemon"].stop()
    lab.restart_daemon(**env)


@pytest.fixture
def http(own_lab: Lab) -> Iterator[httpx.Client]:
    """The daemon's API; nothing that a test made is there afterwards."""
    headers = {"Authorization": f"Bearer {own_lab.secrets['daemon']}"}
    base = f"http://127.0.0.1:{own_lab.ports['daemon']}"
    with httpx.Client(base_url=base, headers=headers, timeout=60, trust_env=False) as client:
        yield client
        own_lab.cloud.clear_faults()
        left = "SELECT id FROM volume_operations WHERE status IN ('pending', 'running')"
        eventually("no operation runs", lambda: not sql(own_lab, left, database=VOLUMES), SECONDS)
        cloud = behind(own_lab)
        for volume in own_lab.cloud.state()["volumes"]:
            if volume["name"].startswith("mk-"):
                if volume["virtualmachineid"]:
                    cloud.detachVolume(id=volume["id"], fetch_result=True)
                cloud.deleteVolume(id=volume["id"])
        for link in oma_devices(own_lab).glob("virtio-*"):
            if not link.exists():
                link.unlink()
        settled(client, lambda report: report["volumes"] == 0 and not report["drift"])


def behind(lab: Lab) -> CloudStack:
    """Return CloudStack's API as somebody uses it who knows nothing of the daemon."""
    return CloudStack(endpoint=lab.cloud.url, key=lab.cloud.api_key, secret=lab.cloud.secret_key, poll_interval=0.1)


def other_machine(lab: Lab) -> str:
    """Return the id of a stopped machine beside the OMA."""
    cloud = behind(lab)
    found = lab.cloud.machine(ELSEWHERE)
    if found is None:
        offering = next(one["id"] for one in cloud.listServiceOfferings(fetch_list=True) if not one["iscustomized"])
        template = cloud.listTemplates(templatefilter="executable", fetch_list=True)[0]["id"]
        network = cloud.listNetworks(fetch_list=True)[0]["id"]
        cloud.deployVirtualMachine(
            name=ELSEWHERE,
            zoneid=oma(lab)["zoneid"],
            serviceofferingid=offering,
            templateid=template,
            networkids=network,
            startvm=False,
            fetch_result=True,
        )
        found = lab.cloud.machine(ELSEWHERE)
    assert found is not None
    return str(found["id"])


def oma(lab: Lab) -> dict[str, Any]:
    found = lab.cloud.machine("oma01")
    assert found is not None
    return found


def oma_devices(lab: Lab) -> Path:
    return Path(oma(lab)["byid"])


def link_of(lab: Lab, volume_id: str) -> Path:
    return oma_devices(lab) / f"virtio-{volume_id.replace('-', '')[:20]}"


def exports(lab: Lab) -> Path:
    return lab.run / "daemon" / "exports"


def volume(http: httpx.Client, name: str, *, attach: bool = True) -> str:
    body = {"name": name, "size": MIB, "tags": TAGS}
    volume_id = str(done(http, http.post("/api/v1/volumes", json=body))["volume_id"])
    if attach:
        done(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
    return volume_id


def export(http: httpx.Client, volume_id: str) -> str:
    body = {"vm_name": "drift", "disk": "1"}
    return str(done(http, http.post(f"/api/v1/volumes/{volume_id}/export", json=body))["export_name"])


def connected(lab: Lab, name: str) -> Any:
    handle = nbd.NBD()
    handle.set_export_name(name)
    handle.connect_tcp("127.0.0.1", str(lab.ports["nbd"]))
    return handle


def let_go(handle: Any) -> None:
    with suppress(nbd.Error):
        handle.shutdown()


def reconcile(http: httpx.Client) -> dict[str, Any]:
    found: dict[str, Any] = http.get("/api/v1/volumes").json()["reconcile"]
    return found


def kinds(told: list[dict[str, Any]]) -> set[tuple[str | None, str]]:
    return {(one["volume_id"], one["kind"]) for one in told}


def mapping(lab: Lab, volume_id: str) -> list[dict[str, Any]]:
    return sql(lab, "SELECT * FROM device_mappings WHERE volume_id = %s", volume_id, database=VOLUMES)


def metric(http: httpx.Client, name: str) -> float:
    (value,) = re.findall(rf"^{re.escape(name)} (\S+)$", http.get("/metrics").text, re.MULTILINE)
    return float(value)


def settled(http: httpx.Client, check: Any) -> dict[str, Any]:
    """Return the report of a comparison that was made after now, and that the check likes."""
    now = reconcile(http)["compared_at"]

    def look() -> dict[str, Any] | None:
        found = reconcile(http)
        return found if found["compared_at"] != now and check(found) else None

    try:
        found: dict[str, Any] = eventually("the daemon reports it", look, SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}; it reports {reconcile(http)}") from None
    return found


@pytest.mark.timeout(300)
def test_a_damaged_lab(own_lab: Lab, http: httpx.Client) -> None:
    lab = own_lab
    assert settled(http, lambda report: report["volumes"] == 0)["drift"] == []
    names = ["row-wrong", "by-hand-off", "exported-off", "in-use-off", "no-device", "held", "longer", "lost", "astray"]
    ids = {name: volume(http, name) for name in names}
    ids |= {name: volume(http, name, attach=False) for name in ("by-hand-on", "other-vm")}
    exported = {name: export(http, ids[name]) for name in ("exported-off", "in-use-off", "lost", "astray")}
    handle = connected(lab, exported["in-use-off"])
    try:
        damaged(lab, http, ids, exported, handle)
    finally:
        let_go(handle)


def damaged(lab: Lab, http: httpx.Client, ids: dict[str, str], exported: dict[str, str], handle: Any) -> None:
    cloud = behind(lab)
    other_vm = other_machine(lab)

    # CloudStack is changed by others, devices vanish and stay, rows and folder lie.
    for name in ("by-hand-off", "exported-off", "in-use-off"):
        cloud.detachVolume(id=ids[name], fetch_result=True)
    lab.cloud.fault(command="detachVolume", mode="device-stays", seconds=600)
    cloud.detachVolume(id=ids["held"], fetch_result=True)
    cloud.attachVolume(id=ids["by-hand-on"], virtualmachineid=oma(lab)["id"], fetch_result=True)
    cloud.attachVolume(id=ids["other-vm"], virtualmachineid=other_vm, fetch_result=True)
    link_of(lab, ids["no-device"]).unlink()
    os.truncate(lab.cloud.volume(ids["longer"])["file"], 2 * GIB)
    wrong = "UPDATE device_mappings SET device_path = '/dev/vdz', linux_state = 'absent' WHERE volume_id = %s"
    sql(lab, wrong, ids["row-wrong"], database=VOLUMES)
    (exports(lab) / exported["lost"]).unlink()
    beside = exports(lab) / f".{exported['astray']}"
    beside.symlink_to(link_of(lab, ids["row-wrong"]))
    beside.rename(exports(lab) / exported["astray"])
    stray = exports(lab) / "migration-stray-1-00000000"
    stray.symlink_to(link_of(lab, ids["longer"]))

    left = {
        (ids["in-use-off"], "export-stale"),
        (ids["in-use-off"], "row"),
        (ids["no-device"], "no-device"),
        (ids["held"], "held"),
        (ids["longer"], "size"),
    }
    repaired = {
        (ids["row-wrong"], "row"),
        (ids["by-hand-off"], "row"),
        (ids["by-hand-on"], "row"),
        (ids["other-vm"], "row"),
        (ids["exported-off"], "export-stale"),
        (ids["exported-off"], "row"),
        (ids["lost"], "export-lost"),
        (ids["astray"], "export-astray"),
        (None, "export-unknown"),
    }
    found = settled(http, lambda report: kinds(report["drift"]) == left and kinds(report["repaired"]) >= repaired)
    print("\n" + run(lab, "volumes", "drift").stdout)

    # What was repaired is right, and CloudStack was never told to do anything.
    assert mapping(lab, ids["by-hand-off"]) == mapping(lab, ids["exported-off"]) == []
    for name in ("row-wrong", "by-hand-on", "lost", "astray"):
        (row,) = mapping(lab, ids[name])
        assert (row["cloudstack_state"], row["linux_state"]) == ("attached", "attached")
        assert row["device_path"] == lab.cloud.volume(ids[name])["file"]
    (row,) = mapping(lab, ids["other-vm"])
    assert (row["vm_id"], row["linux_state"], row["device_path"]) == (other_vm, "elsewhere", None)
    assert sorted(path.name for path in exports(lab).iterdir()) == sorted(
        exported[name] for name in ("in-use-off", "lost", "astray")
    )
    for name in ("lost", "astray"):
        assert (exports(lab) / exported[name]).readlink() == link_of(lab, ids[name])
        connected(lab, exported[name]).shutdown()
    # What is left is as it was: nobody's connection, device or row was touched.
    handle.pwrite(b"still", 0)
    assert bytes(handle.pread(5, 0)) == b"still"
    assert link_of(lab, ids["held"]).exists()
    (row,) = mapping(lab, ids["no-device"])
    assert (row["cloudstack_state"], row["linux_state"]) == ("attached", "absent")

    # Everybody is told: the list, the metrics, the command, the joblog, the operations.
    listed = {one["id"]: one["drift"] for one in http.get("/api/v1/volumes").json()["volumes"]}
    assert listed[ids["held"]] == ["held"]
    assert sorted(listed[ids["in-use-off"]]) == ["export-stale", "row"]
    assert listed[ids["row-wrong"]] == []
    assert metric(http, 'migratekit_volume_drift{kind="held"}') == 1
    assert metric(http, 'migratekit_volume_drift{kind="row"}') == 1
    assert metric(http, 'migratekit_volume_drift{kind="export-unknown"}') == 0
    assert metric(http, 'migratekit_volume_repairs_total{kind="export-lost"}') == 1
    assert metric(http, 'migratekit_volumes{attached="elsewhere"}') == 1
    told = run(lab, "volumes", "drift")
    assert told.returncode == 1
    assert f"migratekit volumes attach {ids['no-device']}" in told.stdout
    assert "no-device" in run(lab, "volumes", "list").stdout
    events = sql(
        lab,
        "SELECT fields FROM joblog_events JOIN joblog_jobs ON joblog_jobs.id = job_id "
        "WHERE joblog_jobs.kind = 'volumes-reconcile' AND joblog_events.kind = 'drift-found'",
    )
    assert {volume_id for volume_id in ids.values() if any(volume_id in (e["fields"] or "") for e in events)} == set(
        ids.values()
    )
    by = {one["operation_id"] for one in found["repaired"] if one["operation_id"]}
    operations = {one["id"]: one for one in report(lab, "volumes", "operations", "--limit", "100")["operations"]}
    assert {operations[one]["type"] for one in by} == {"reconcile"}

    # Once an operator has done what is said, nothing is left.
    handle.shutdown()
    link_of(lab, ids["held"]).unlink()
    os.truncate(lab.cloud.volume(ids["longer"])["file"], GIB)
    done(http, http.post(f"/api/v1/volumes/{ids['no-device']}/attach", json={}))
    eventually("the rows are gone", lambda: mapping(lab, ids["held"]) == mapping(lab, ids["in-use-off"]) == [], SECONDS)
    settled(http, lambda report: report["drift"] == [])
    eventually("nothing is left", lambda: run(lab, "volumes", "drift").returncode == 0, SECONDS)
    for name in ("lost", "astray"):
        done(http, http.post(f"/api/v1/volumes/{ids[name]}/unexport"))


def test_what_stays_wrong_is_recorded_once(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = volume(http, "once")
    link_of(own_lab, volume_id).unlink()
    settled(http, lambda report: [one["kind"] for one in report["drift"]] == ["no-device"])
    count = "SELECT COUNT(*) AS n FROM joblog_jobs WHERE kind = 'volumes-reconcile'"
    (before,) = sql(own_lab, count)
    for _ in range(3):
        settled(http, lambda report: report["drift"])
    assert sql(own_lab, count) == [before]


def test_a_volume_that_an_operation_works_on_is_left_alone(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = volume(http, "busy", attach=False)
    settled(http, lambda report: report["skipped"] == 0)
    own_lab.cloud.fault(command="attachVolume", mode="slow", seconds=3)
    answer = http.post(f"/api/v1/volumes/{volume_id}/attach", json={})
    # Its row says `attaching`, CloudStack says nothing of it: that is no drift, it is under way.
    seen = settled(http, lambda report: report["skipped"] == 1)
    assert seen["drift"] == []
    settled(http, lambda report: report["skipped"] == 1)
    assert done(http, answer)["device_path"]
    assert settled(http, lambda report: report["skipped"] == 0)["drift"] == []
    types = [
        one["type"] for one in http.get("/api/v1/operations").json()["operations"] if one["volume_id"] == volume_id
    ]
    assert "reconcile" not in types


def test_a_repair_is_the_only_writer_and_survives_a_kill(own_lab: Lab, http: httpx.Client, tmp_path: Path) -> None:
    volume_id = volume(http, "writer")
    name = export(http, volume_id)
    stop, reached = tmp_path / "stop", tmp_path / "reached"
    stop.write_text("reconcile/repair-volume/running")
    try:
        own_lab.parts["daemon"].kill()
        own_lab.restart_daemon(MIGRATEKIT_DAEMON_POINTS=str(tmp_path))
        (exports(own_lab) / name).unlink()
        place = "reconcile/repair-volume/running"
        eventually("the repair waits", lambda: reached.exists() and place in reached.read_text(), SECONDS)
        refused = http.post(f"/api/v1/volumes/{volume_id}/detach")
        assert refused.status_code == 409
        assert "(reconcile)" in refused.json()["why"]
    finally:
        own_lab.parts["daemon"].kill()
        stop.unlink()
        own_lab.restart_daemon()
    eventually("it is served again", lambda: (exports(own_lab) / name).is_symlink(), SECONDS)
    connected(own_lab, name).shutdown()
    done_by = [one for one in http.get("/api/v1/operations").json()["operations"] if one["type"] == "reconcile"]
    assert [one["volume_id"] for one in done_by].count(volume_id) == 1
    eventually("the volume is free", lambda: http.post(f"/api/v1/volumes/{volume_id}/unexport").status_code == 202, 20)


def test_cloudstack_that_is_away_is_told_and_changes_nothing(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = volume(http, "away")
    settled(http, lambda report: report["skipped"] == 0 and report["volumes"] == 1)
    failures = metric(http, "migratekit_reconcile_failures_total")
    own_lab.cloud.fault(command="listVolumes", mode="bad-gateway", count=-1)
    eventually("it fails", lambda: metric(http, "migratekit_reconcile_failures_total") > failures, SECONDS)
    own_lab.cloud.clear_faults()
    assert len(mapping(own_lab, volume_id)) == 1
    eventually("it works again", lambda: reconcile(http)["error"] is None, SECONDS)
    assert reconcile(http)["drift"] == []


def test_lists_that_lag_behind_mislead_nobody(own_lab: Lab, http: httpx.Client) -> None:
    """What was attached is listed a second later only, and what was detached as well: each next step works."""
    cloud, path = own_lab.cloud, "/api/v1/volumes"
    cloud.fault(command="createVolume", mode="stale-list", seconds=1)
    volume_id = volume(http, "lag", attach=False)
    for command in ("attachVolume", "detachVolume") * 2:
        cloud.fault(command=command, mode="stale-list", seconds=1)
        action = command.removesuffix("Volume")
        done(http, http.post(f"{path}/{volume_id}/{action}", json={} if action == "attach" else None))
    assert done(http, http.delete(f"{path}/{volume_id}"))["existed"] is True
    assert settled(http, lambda report: report["skipped"] == 0)["drift"] == []
    times = [job["cmd"].rsplit(".", 1)[-1] for job in cloud.state()["jobs"] if job["jobinstanceid"] == volume_id]
    assert times.count("AttachVolumeCmd") == times.count("DetachVolumeCmd") == 2


def test_linux_holds_what_cloudstack_has_detached(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = volume(http, "holds")
    own_lab.cloud.fault(command="detachVolume", mode="device-stays", seconds=0.5)
    began = time.monotonic()
    done(http, http.post(f"/api/v1/volumes/{volume_id}/detach"))
    assert time.monotonic() - began >= 0.5
    assert not link_of(own_lab, volume_id).is_symlink()
    done(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
    own_lab.cloud.fault(command="detachVolume", mode="device-stays", seconds=60)
    operation = ended(http, http.post(f"/api/v1/volumes/{volume_id}/detach"))
    assert operation["status"] == "failed"
    assert "Linux still has it" in operation["error"]["what"]
    settled(http, lambda report: [one["kind"] for one in report["drift"]] == ["held"])
    link_of(own_lab, volume_id).unlink()
    eventually("its row is gone", lambda: mapping(own_lab, volume_id) == [], SECONDS)
    settled(http, lambda report: report["drift"] == [])


def test_metrics_want_the_token_and_name_no_volume(own_lab: Lab, http: httpx.Client) -> None:
    volume_id = volume(http, "counted")
    assert httpx.get(f"{http.base_url}/metrics", trust_env=False).status_code == 401
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert volume_id not in answer.text
    assert metric(http, 'migratekit_operation_seconds_count{outcome="completed",type="attach"}') >= 1
    route = 'migratekit_http_request_seconds_count{method="GET",route="/api/v1/volumes/{volume_id}",status="404"}'
    http.get("/api/v1/volumes/00000000-0000-0000-0000-0000000000ff")
    assert metric(http, route) >= 1
    http.get(f"/made-up/{volume_id}")
    assert "made-up" not in http.get("/metrics").text
    version = (ROOT / "VERSION.txt").read_text().strip()
    assert f'migratekit_build_info{{version="{version}"}} 1.0' in answer.text
    assert metric(http, "migratekit_reconcile_last_success_timestamp_seconds") >= own_lab.config.stat().st_mtime
