"""The wave commands from outside, on a database of the test's own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from migratekit_core.config import load_config
from migratekit_core.db.engine import Databases
from migratekit_core.db.wavestates import REPLICATE
from migratekit_core.joblog import Tracker
from migratekit_core.services.waves import claims, look, store
from tests.unit import sample_wave
from tests.unit.inside import run
from tests.unit.inventory import GIB, write
from tests.unit.terminal import terminal
from tests.unit.test_wave_plan import vm

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
RULES = """\
schema: migratekit.wave-rules/1
name: autumn
group_by: [tag:application, folder]
depends_on:
  - {machines: [web*], needs: [db01]}
waves: {machines: 3}
start: {first: 2026-11-28T22:00:00+01:00, every: 7d, length: 8h}
"""


@pytest.fixture
def stored(databases: Databases, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Return a database that commands find, with the sample."""
    monkeypatch.setenv("MIGRATEKIT_DATABASE__DIRECTORY", str(directory))
    sample_wave.make(databases.oma)
    return databases


def answer(*arguments: str, code: int = 0) -> dict[str, Any]:
    """Return a command's document."""
    done = run(*arguments, "--output", "json")
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """Write an inventory: a shop, a machine of its own, and one that is blocked."""
    shop = [vm(f"web{number}", host=f"esx{number}", size=number * GIB, tags=("application:shop",)) for number in (1, 2)]
    others = [
        vm("db01", host="esx3", size=40 * GIB, tags=("application:shop",)),
        vm("crm", size=5 * GIB, tags=("application:crm",)),
        vm("ft", fault_tolerance="running", tags=("application:shop",)),
    ]
    return write(tmp_path / "inventory.json", *shop, *others)


def test_a_plan_is_written_and_each_file_is_as_its_schema_says(inventory: Path, tmp_path: Path) -> None:
    rules, out = tmp_path / "rules.yaml", tmp_path / "waves"
    rules.write_text(RULES)
    jsonschema.validate(yaml.safe_load(RULES.replace("2026-11-28T22:00:00+01:00", "'2026-11-28T22:00:00+01:00'")),
                        json.loads((SCHEMAS / "wave-rules.json").read_text()))  # fmt: skip
    planning = ("wave", "plan", str(inventory), "--rules", str(rules), "--out", str(out), "--bandwidth", "1Gbit/s")
    assert answer(*planning, "--dry-run")["waves"] and not out.exists()
    document = answer(*planning)
    assert document["schema"] == "migratekit.wave-plan/1"
    [shop, crm] = document["waves"]
    assert [each["name"] for each in shop["machines"]] == ["db01", "web2", "web1"]
    assert [each["stage"] for each in shop["machines"]] == [1, 2, 2]
    assert shop["estimate"]["seconds"] == pytest.approx(43 * GIB / 1e8, rel=0.01)
    assert crm["window"]["not_before"] == "2026-12-05T22:00:00+01:00"
    [left] = document["left_out"]
    assert (left["vm"], left["kind"]) == ("ft", "blocked") and "ault" in left["why"]
    files = sorted(out.iterdir())
    assert [path.name for path in files] == ["autumn-1.yaml", "autumn-2.yaml"]
    schema = json.loads((SCHEMAS / "wave.json").read_text())
    for path in files:
        assert path.stat().st_mode & 0o777 == 0o600
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
        assert answer("wave", "show", str(path))["schema"] == "migratekit.wave-file/1"
    again = run(*planning)
    assert again.returncode == 4 and "is there already" in again.stderr
    assert run(*planning, "--force").returncode == 0


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"name": "shop 1"}, "name"),
        ({"limits": {"bandwidth": "fast"}}, "bandwidth"),
        ({"must_pass": {"abort_below": 200}}, "abort_below"),
        ({"colour": "red"}, "colour"),
        ({"machines": []}, "machines"),
    ],
)
def test_the_schema_refuses_what_we_refuse(change: dict[str, Any], wrong: str) -> None:
    plain = {"schema": "migratekit.wave/1", "name": "a", "machines": [{"name": "a", "uuid": "a"}]}
    schema = json.loads((SCHEMAS / "wave.json").read_text())
    jsonschema.validate(plain, schema)
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate({**plain, **change}, schema)
    assert wrong in (*caught.value.absolute_path, *caught.value.message.replace("'", " ").split())


def test_the_published_schemas_are_those_of_the_code() -> None:
    from tests.schema import files

    stale = [path.name for path, wanted in files().items() if path.suffix == ".json" and path.read_text() != wanted]
    assert stale == [], "run: python -m tests.schema"


def test_the_examples_of_the_document_are_right(tmp_path: Path) -> None:
    from migratekit_core.services.waves import files, rules

    page = (SCHEMAS.parent / "waves.md").read_text()
    [rule_file, wave_file] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "rules.yaml"
    path.write_text(rule_file)
    assert rules.load(path).waves.duration == 8 * 3600
    assert files.loads(wave_file).machines[1].oma == "east"
    [table] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    cloud = '[ossea]\napi_url = "https://c/client/api"\napi_key = { env = "A" }\nsecret_key = { env = "B" }\n'
    cloud += 'zone = "z"\ndisk_offering = "Custom"\noma_vm = "oma"\n'
    tunnel = '[tunnel]\nkind = "tls"\nhost = "oma"\nca_file = "/ca.pem"\ncert_file = "/vma.pem"\n'
    (tmp_path / "config.toml").write_text(cloud + tunnel + table)
    found = load_config(tmp_path / "config.toml", environ={}).omas["east"]
    assert found.tunnel.host == "oma-east.example.com" and found.ossea is not None and found.ossea.zone == "zone-2"


def test_a_plan_for_people_says_what_is_left_out_and_why(inventory: Path) -> None:
    done = run("wave", "plan", str(inventory))
    assert done.returncode == 0
    assert done.stdout.splitlines()[0].startswith("wave\tmachines\tdata\tduration\tbandwidth")
    for part in (
        "1 left out",
        "no rate is known",
        "blocked: /DC0/vm/prod/ft: MK-",
        "nothing is written (without --out)",
    ):
        assert part in done.stderr, part


def test_an_assessment_says_what_is_blocked(inventory: Path, tmp_path: Path) -> None:
    assessment = tmp_path / "assessment.json"
    assessment.write_text(run("assess", "--all", "--offline", str(inventory), "-o", "json").stdout)
    document = answer("wave", "plan", str(inventory), "--assessment", str(assessment))
    assert [each["vm"] for each in document["left_out"]] == ["ft"]
    edited = json.loads(assessment.read_text())
    edited["machines"] = [each for each in edited["machines"] if each["vm"] != "crm"]
    assessment.write_text(json.dumps(edited))
    left = {
        each["vm"]: each["why"]
        for each in answer("wave", "plan", str(inventory), "--assessment", str(assessment))["left_out"]
    }
    assert left["crm"] == "assessment.json does not know it: assess it, too"
    refused = run("wave", "plan", str(inventory), "--assessment", str(inventory))
    assert refused.returncode == 2 and "is no assessment" in refused.stderr


def test_what_is_wrong_with_a_plan_is_told(inventory: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(RULES.replace("needs: [db01]", "needs: [db01]}\n  - {machines: [db01], needs: [web1]"))
    done = run("wave", "plan", str(inventory), "--rules", str(rules))
    assert done.returncode == 2
    assert "error: the dependencies go round in a circle" in done.stderr
    assert "web1 needs db01 needs web1" in done.stderr or "db01 needs web1 needs db01" in done.stderr
    assert run("wave", "plan", str(inventory), "--name", "a b").returncode == 2
    assert run("wave", "plan", str(tmp_path / "none.json")).returncode == 2
    rules.write_text(RULES.replace("machines: 3", "machnes: 3"))
    done = run("wave", "plan", str(inventory), "--rules", str(rules))
    assert done.returncode == 2 and "line 6: waves.machnes: unknown key; did you mean machines?" in done.stderr


def test_waves_that_are_known_leave_their_machines_out(stored: Databases, inventory: Path, tmp_path: Path) -> None:
    from migratekit_core.services.waves.model import Machine, Wave

    store.create(stored.oma, Wave(name="old", machines=(Machine(name="crm", uuid="50aa-crm"),)))
    left = {each["vm"]: each["why"] for each in answer("wave", "plan", str(inventory), "--history")["left_out"]}
    assert left["crm"] == "it is in wave old (waiting)"


def test_list_show_and_status(stored: Databases) -> None:
    [listed] = answer("wave", "list")["waves"]
    assert (listed["wave"], listed["status"], listed["counts"]["waiting"]) == ("shop-1", "running", 5)
    shown = answer("wave", "show", "shop-1")
    assert shown["schema"] == "migratekit.wave/1" and shown["file"]["description"] == "the shop"
    assert answer("wave", "status", "shop-1")["schema"] == "migratekit.wave-status/1"
    assert "web04\tfailed (replicate)\t1\t" in run("wave", "show", "shop-1").stdout
    assert run("wave", "list").stdout.splitlines()[1].startswith("shop-1\trunning\t12\t5 waiting, 2 running")
    unknown = run("wave", "status", "shpo-1")
    assert unknown.returncode == 4 and "the newest stored are: shop-1" in unknown.stderr


def test_pause_resume_cancel_and_retry(stored: Databases) -> None:
    plan = answer("wave", "pause", "shop-1", "--dry-run")
    assert plan["schema"] == "migratekit.wave-pause-plan/1" and plan["changed"]
    assert not look.snapshot(stored.oma, "shop-1").wave.paused
    assert "wave shop-1 is paused" in run("wave", "pause", "shop-1").stdout
    assert look.snapshot(stored.oma, "shop-1").wave.paused
    assert "was paused already" in run("wave", "pause", "shop-1").stdout
    assert "goes on" in run("wave", "resume", "shop-1").stdout

    assert run("wave", "cancel", "shop-1").returncode == 2, "nobody to ask"
    assert answer("wave", "cancel", "shop-1", "--vm", "web09", "--yes")["machines"] == ["web09"]
    asked = answer("wave", "cancel", "shop-1", "--yes")
    assert len(asked["machines"]) == 4 and asked["running"] == ["web06", "web07"]
    assert look.snapshot(stored.oma, "shop-1").wave.cancel_asked
    refused = run("wave", "pause", "shop-1")
    assert refused.returncode == 4 and "migratekit wave retry shop-1" in refused.stderr

    asked = answer("wave", "retry", "shop-1")
    assert sorted(asked["machines"]) == sorted(["web04", "web05", "web08", "web09", "web10", "web11"])
    done = run("wave", "retry", "shop-1", "--vm", "web01")
    assert done.returncode == 0 and "web01 is replicated" in done.stdout
    kinds = [job.kind for job in Tracker(stored.oma).jobs(owner="shop-1")]
    assert sorted(kinds) == ["wave-cancel", "wave-cancel", "wave-pause", "wave-resume", "wave-retry"]


def test_a_report_says_everything_and_is_no_script(stored: Databases, tmp_path: Path) -> None:
    document = answer("wave", "report", "shop-1")
    assert document["schema"] == "migratekit.wave-report/1"
    assert len(document["attempts"]) == 9 and len(document["throughput"]) == 60
    moved = sum(each["rate"] * each["seconds"] for each in document["throughput"])
    assert moved == pytest.approx(document["copied"], rel=1e-6)
    page = tmp_path / "wave.html"
    done = run("wave", "report", "shop-1", "--html", str(page))
    assert done.returncode == 0 and page.stat().st_mode & 0o777 == 0o600
    assert "wave shop-1 (copying)" in done.stdout
    text = page.read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    for part in (
        "Throughput over time",
        "Machines in time",
        "Needs somebody (1)",
        "run it again",
        "1 min 34 s",
        "lost",
    ):
        assert part in text, part


def test_a_wave_is_followed_to_its_end_on_a_terminal(stored: Databases, directory: Path) -> None:
    with terminal(directory, "wave", "status", "shop-1", "--follow", "--interval", "0.2") as seen:
        seen.until("2 running")
        held = claims.claim(stored.oma, "shop-1", "u-8", REPLICATE, "host9:1")
        assert held is not None
        seen.until("web08: copying by host9:1")
        claims.finish(stored.oma, held)
        for worker in ("host0:416", "host1:417"):
            sample_wave.lose(stored.oma, worker)
        store.end(stored.oma, "shop-1")
        assert seen.end() == 1, "a machine failed"
    assert max(map(len, seen.lines)) <= 80
