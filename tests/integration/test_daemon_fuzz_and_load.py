"""The real daemon under schemathesis, and under two hundred clients at once; the figures go to .bench/."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.daemon_api import done
from tests.integration.machines import machine, thin
from tests.integration.support import MIB, leaked, sql
from tests.lab.guest import Images
from tests.lab.lab import ROOT, Lab, environment, running

FUZZ_SECONDS = int(os.environ.get("MIGRATEKIT_FUZZ_SECONDS", "0"))
"""For each of two runs; 0: a few examples of each kind on each route. MIGRATEKIT_FUZZ_SECONDS=300 digs deeper."""
EXAMPLES = 3
LOAD_SECONDS = int(os.environ.get("MIGRATEKIT_LOAD_SECONDS", "10"))
CLIENTS, VOLUMES = 200, 50
SETTINGS = ROOT / "tests" / "fuzz" / "schemathesis.toml"
TAGS = {"migratekit": "00000000-0000-0000-0000-000000000002"}


def inventory(images: Images) -> dict[str, object]:
    return {"vms": [machine("unused", thin(MIB))]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own: what these leave in the cloud is nobody else's business."""
    with running(tmp_path_factory.mktemp("load") / "run", preferred_ports=False, inventory=inventory) as started_lab:
        yield started_lab


@pytest.fixture
def http(lab: Lab) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {lab.secrets['daemon']}"}
    with httpx.Client(base_url=url(lab), headers=headers, timeout=60, trust_env=False) as client:
        yield client


def url(lab: Lab) -> str:
    return f"http://127.0.0.1:{lab.ports['daemon']}"


def created(http: httpx.Client, name: str) -> str:
    made = done(http, http.post("/api/v1/volumes", json={"name": name, "size": MIB, "tags": TAGS}))
    return str(made["volume_id"])


# What the OpenAPI document promises.


def test_every_route_field_and_error_is_described(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            for parameter in operation.get("parameters", []):
                assert parameter.get("description"), f"{where} {parameter['name']}"
            for status, response in operation["responses"].items():
                assert response["description"], f"{where} {status}"
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], f"{where} {status}"
            if path.startswith("/api/"):
                assert operation["security"], where
                assert {"401", "422", "500", "503"} <= set(operation["responses"]), where
    for name, schema in document["components"]["schemas"].items():
        assert schema.get("description"), name
        for field, described in schema.get("properties", {}).items():
            assert described.get("description"), f"{name}.{field}"


@pytest.mark.timeout(280 + 4 * FUZZ_SECONDS)
@pytest.mark.parametrize("ids", ["made up", "real"])
def test_fuzz(lab: Lab, http: httpx.Client, tmp_path: Path, ids: str) -> None:
    """No 5xx, no hang, no answer that the document does not describe."""
    settings = SETTINGS.read_text()
    if ids == "real":
        volume_id = created(http, "fuzz")
        done(http, http.post(f"/api/v1/volumes/{volume_id}/attach", json={}))
        snapshot_id = done(http, http.post(f"/api/v1/volumes/{volume_id}/snapshot", json={"name": "fuzz"}))
        settings += f'\n[parameters]\n"path.volume_id" = "{volume_id}"\n'
        settings += f'"path.snapshot_id" = "{snapshot_id["snapshot_id"]}"\n'
    config = tmp_path / "schemathesis.toml"
    config.write_text(settings)
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        f"{url(lab)}/openapi.json",
    ]
    # What may be written at all was tried with made-up ids; with real ones it is about what comes of it.
    phases = "coverage,fuzzing" if ids == "made up" else "fuzzing,stateful"
    bound = f"--max-time={FUZZ_SECONDS}" if FUZZ_SECONDS else f"--max-examples={EXAMPLES}"
    fuzzed = subprocess.run(
        [*command, bound, f"--phases={phases}", "--max-response-time=35"],
        cwd=tmp_path,
        env={**environment(), "FUZZ_TOKEN": lab.secrets["daemon"], "NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200 + 3 * FUZZ_SECONDS,
        check=False,
    )
    assert fuzzed.returncode == 0, fuzzed.stdout[-8000:] + fuzzed.stderr[-2000:]
    # That it tried something, and on every route.
    selected, tested = (int(re.findall(rf"{word}: +(\d+)", fuzzed.stdout)[0]) for word in ("Selected", "Tested"))
    assert tested == selected >= 16
    assert http.get("/health").status_code == 200
    said = (lab.run / "daemon.log").read_text()
    assert "Traceback" not in said
    assert leaked(lab, said) == []


# Two hundred clients.


@pytest.mark.timeout(240 + 3 * LOAD_SECONDS)
def test_two_hundred_clients_lose_nothing_and_attach_nothing_twice(lab: Lab, http: httpx.Client) -> None:
    # Somebody else's, exported before (as the fuzzing may leave one, too): it stays what it is.
    bystander = created(http, "bystander")
    done(http, http.post(f"/api/v1/volumes/{bystander}/attach", json={}))
    done(http, http.post(f"/api/v1/volumes/{bystander}/export", json={"vm_name": "bystander", "disk": "0"}))
    volumes = [created(http, f"load-{number}") for number in range(VOLUMES)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.daemon_load", url(lab), str(CLIENTS), str(LOAD_SECONDS)],
        cwd=ROOT,
        env={**environment(), "LOAD_TOKEN": lab.secrets["daemon"]},
        input="\n".join(volumes),
        capture_output=True,
        text=True,
        timeout=180 + 2 * LOAD_SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    report = json.loads(ran.stdout)
    bench = ROOT / ".bench"
    bench.mkdir(exist_ok=True)
    (bench / "daemon-load.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))

    assert report["unexpected"] == []
    assert report["accepted"] >= 20
    assert report["reads"] >= 100
    # No lost operation: each one that was accepted has ended, and a failed one says why.
    assert report["operations"]["lost"] == []
    assert sum(report["operations"]["ended"].values()) == report["accepted"]
    assert set(report["operations"]["ended"]) <= {"completed", "failed"}
    assert report["operations"]["ended"]["completed"] > 0

    # No double attach: what CloudStack did to a volume is attach, detach, attach …; never two of a kind.
    state = lab.cloud.state()
    history: dict[str, list[str]] = {}
    for job in state["jobs"]:
        kind = job["cmd"].rsplit(".", 1)[-1]
        if job["jobstatus"] == 1 and job["jobinstanceid"] in volumes and kind in ("AttachVolumeCmd", "DetachVolumeCmd"):
            history.setdefault(job["jobinstanceid"], []).append(kind)
    assert history
    for volume_id, done_to_it in history.items():
        assert all(one != other for one, other in itertools.pairwise(done_to_it)), volume_id
    # And all four agree on where each volume is, those of others among them: CloudStack, the rows, the
    # devices, the exports.
    attached = {volume["id"] for volume in state["volumes"] if volume["virtualmachineid"] and volume["type"] != "ROOT"}
    rows = sql(lab, "SELECT volume_id, device_path FROM device_mappings", database="migratekit_volumes")
    assert {row["volume_id"] for row in rows} == attached
    assert max(Counter(row["device_path"] for row in rows).values(), default=1) == 1
    exports = sql(lab, "SELECT volume_id, export_name FROM nbd_exports", database="migratekit_volumes")
    assert bystander in {row["volume_id"] for row in exports} <= attached
    assert sorted(row["export_name"] for row in exports) == sorted(
        path.name for path in (lab.run / "daemon" / "exports").iterdir()
    )
    said = (lab.run / "daemon.log").read_text()
    assert "Traceback" not in said
    assert " 500 " not in said
