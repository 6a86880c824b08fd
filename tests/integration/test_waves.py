"""Waves in the lab: planned from the live source, through another vCenter's and OMA's name, and done by a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError
from migratekit_core.common.files import write_private
from migratekit_core.config import load_config
from migratekit_core.context import open_runtime
from migratekit_core.db.wavestates import REPLICATE
from migratekit_core.services.replication.sync import replicate
from migratekit_core.services.waves import claims, files, store
from migratekit_core.services.waves.resolve import config_for
from tests.integration.support import identical, leaked, refused, report, run, sql
from tests.integration.test_lock import lab_engine
from tests.lab.lab import Lab

RULES = """\
schema: migratekit.wave-rules/1
name: lab
select: {names: [wave0*]}
group_by: ['name:(wave)']
depends_on:
  - {machines: [wave01], needs: [wave02]}
places:
  - {oma: [b]}
"""


@pytest.fixture(scope="module")
def config(shared_lab: Lab) -> Iterator[Path]:
    """Yield the lab's configuration with its vCenter, and its OMA behind a tunnel of its own, by further names."""
    path = shared_lab.run / "waves.toml"
    text = shared_lab.config.read_text()
    own = text[text.index("[vcenter]") : text.index("[tunnel]")].replace("[vcenter]", "[vcenters.dc2]")
    write_private(path, f'{text}\n{own}\n[omas.b.tunnel]\nruntime_dir = "{shared_lab.sockets}/b"\n')
    yield path
    run(shared_lab, "--config", str(path), "--oma", "b", "tunnel", "down")


@pytest.fixture(scope="module", autouse=True)
def forgotten(shared_lab: Lab) -> Iterator[None]:
    """Forget this module's waves."""
    yield
    for table in ("wave_attempts", "wave_vms", "waves"):
        sql(shared_lab, f"DELETE FROM {table}")


def test_a_wave_from_the_plan_to_the_report(lab: Lab, config: Path, tmp_path: Path) -> None:
    rules, out = tmp_path / "rules.yaml", tmp_path / "waves"
    rules.write_text(RULES)
    at = ("--config", str(config))
    planned = report(
        lab, *at, "wave", "plan", "--from", "dc2", "--rules", str(rules), "--out", str(out), "--bandwidth", "1Gbit/s"
    )
    [wave] = planned["waves"]
    assert [(each["name"], each["vcenter"], each["oma"], each["stage"]) for each in wave["machines"]] == [
        ("wave02", "dc2", "b", 1),
        ("wave01", "dc2", "b", 2),
    ]
    path = out / "lab-1.yaml"
    assert yaml.safe_load(path.read_text())["machines"][1]["depends_on"] == ["wave02"]
    assert report(lab, *at, "wave", "show", str(path))["name"] == "lab-1"
    assert "no vcenters.dc2 in the configuration" in refused(
        lab, run(lab, "wave", "show", str(path)), 2, ErrorCode.WAVE_INVALID
    )

    # What a worker does: its machine, the configuration of that machine, and its work within the claim.
    whole = files.load(path)
    base = load_config(config, environ={})
    engine = lab_engine(lab)
    try:
        store.create(engine, whole)
        store.begin(engine, "lab-1", REPLICATE)
        held = claims.claim(engine, "lab-1", whole.machines[1].uuid, REPLICATE, "test:1")
        assert held is not None
        with lab.sides.vma(), open_runtime(config_for(base, whole, whole.machines[1])) as opened:
            assert opened.config.tunnel.runtime_dir == lab.sockets / "b"
            done = replicate(opened, held.vm_id)
        claims.heartbeat(engine, held, done=done.moved, total=done.moved, job_id=done.job_id)
        claims.finish(engine, held, done=done.moved)
        other = claims.claim(engine, "lab-1", whole.machines[0].uuid, REPLICATE, "test:1")
        assert other is not None
        secret = lab.secrets["database"]
        claims.fail(
            engine,
            other,
            OperationFailedError("the copy failed", f"login with {secret} was refused", "look", code=ErrorCode.UNKNOWN),
        )
    finally:
        engine.dispose()
    identical(lab, "wave01")

    status = report(lab, *at, "wave", "status", "lab-1")
    assert status["counts"]["replicated"] == 1 and status["counts"]["failed"] == 1
    assert leaked(lab, json.dumps(status)) == []
    done_by = {each["vm"]: each for each in status["machines"]}["wave01"]
    assert report(lab, *at, "--oma", "b", "jobs", "show", done_by["job_id"])["job"]["kind"] == "replication"
    assert "wave lab-1 is paused" in run(lab, *at, "wave", "pause", "lab-1").stdout
    assert report(lab, *at, "wave", "retry", "lab-1")["machines"] == ["wave02"]
    assert report(lab, *at, "wave", "cancel", "lab-1", "--yes")["machines"] == ["wave02"]
    numbers = httpx.get(
        f"http://127.0.0.1:{lab.ports['daemon']}/metrics",
        headers={"Authorization": f"Bearer {lab.secrets['daemon']}"},
        trust_env=False,
    ).text
    assert 'migratekit_wave_machines{state="cancelled"} 1.0' in numbers
    assert 'migratekit_wave_machines{state="replicated"} 1.0' in numbers
    assert "lab-1" not in numbers, "no names"
    page = tmp_path / "wave.html"
    written = run(lab, *at, "wave", "report", "lab-1", "--html", str(page))
    assert written.returncode == 0 and leaked(lab, page.read_text()) == []


def test_doctor_looks_at_the_further_ones(lab: Lab, config: Path) -> None:
    topics = ("--topic", "vcenters", "--topic", "omas")
    found = report(lab, "--config", str(config), "doctor", *topics)
    assert {line["what"]: line["status"] for line in found["lines"]} == {"vCenter dc2": "ok", "OMA b": "ok"}
    done = run(lab, "--config", str(config), "doctor", *topics, "-o", "json", MIGRATEKIT_VCENTERS__DC2__PORT="9",
               MIGRATEKIT_OMAS__B__VOLUMES__TOKEN='{ env = "NO_TOKEN" }', NO_TOKEN="wrong")  # fmt: skip
    lines = {line["what"]: (line["status"], line["exit_code"]) for line in json.loads(done.stdout)["lines"]}
    assert lines == {"vCenter dc2": ("failed", 6), "OMA b": ("failed", 5)} and done.returncode == 6
