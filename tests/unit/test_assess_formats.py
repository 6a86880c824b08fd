"""What CI systems read: each form against its schema, or the parser that others use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from tests.unit.inside import run
from tests.unit.inventory import disk, machine, nic, write
from tests.unit.test_assess_cli import BAD, GOOD, WARNED

SCHEMA = json.loads((Path(__file__).parents[1] / "data" / "sarif-2.1.0.json").read_text())
ODD = machine(
    "odd|<b>&\u0007`name`",
    path="/DC0/vm/50% & <more>/odd|<b>&\u0007`name`",
    disks=(disk(path="[ds1] odd/1.vmdk"),),
    nics=(nic(4),),
    vtpm=True,
)


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    """Return the path of an inventory, with a machine whose name is markup and more."""
    return str(write(tmp_path / "inventory.json", GOOD, WARNED, BAD, ODD))


def sarif(*arguments: str) -> dict[str, Any]:
    done = run("assess", *arguments, "-o", "sarif")
    log: dict[str, Any] = json.loads(done.stdout)
    jsonschema.Draft7Validator(SCHEMA).validate(log)
    return log


def test_sarif_follows_its_schema_and_tells_where(inventory: str) -> None:
    log = sarif("--all", "--offline", inventory)
    driver = log["runs"][0]["tool"]["driver"]
    results = log["runs"][0]["results"]
    levels = {result["level"] for result in results}
    assert levels == {"error", "warning", "note"}
    for result in results:
        assert driver["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    worst = next(result for result in results if result["level"] == "error")
    assert worst["ruleId"] == "MK-DISK-002"
    place = worst["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "vsphere/DC0/vm/prod/bad01"
    assert place["logicalLocations"][0]["fullyQualifiedName"] == "/DC0/vm/prod/bad01 (Hard disk 1)"


def test_the_schema_would_refuse_a_wrong_log() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(SCHEMA).validate({"version": "2.1.0", "runs": [{"tool": {}}]})


def test_sarif_fingerprints_stay_and_accepted_findings_are_suppressed(inventory: str, tmp_path: Path) -> None:
    accepted = str(tmp_path / "accepted.yaml")
    first = sarif("--all", "--offline", inventory)
    run("assess", "--all", "--offline", inventory, "--write-baseline", accepted)
    second = sarif("--all", "--offline", inventory, "--baseline", accepted)

    def prints(log: dict[str, Any]) -> set[str]:
        return {mark for result in log["runs"][0]["results"] for mark in result["partialFingerprints"].values()}

    assert prints(first) == prints(second)
    assert len(prints(first)) == len(first["runs"][0]["results"])
    assert all(result["suppressions"] for result in second["runs"][0]["results"])


@pytest.mark.parametrize(("fail_on", "failures"), [("blocker", 1), ("warning", 4)])
def test_junit_is_what_a_parser_accepts(inventory: str, fail_on: str, failures: int) -> None:
    done = run("assess", "--all", "--offline", inventory, "-o", "junit", "--fail-on", fail_on)
    assert done.returncode == 3
    parsed = JUnitXml.fromstring(done.stdout.encode())
    assert parsed.failures == failures
    suites = {suite.name: suite for suite in parsed}
    assert len(suites) == 5
    assert suites["/DC0/vm/prod/bad01"].failures == 1
    cases = [case for suite in parsed for case in suite]
    assert parsed.tests == len(cases)
    found = [result for case in cases for result in case.result]
    assert sum(isinstance(result, Failure) for result in found) == failures
    assert not [result for result in found if isinstance(result, Error)]
    assert parsed.skipped == sum(isinstance(result, Skipped) for result in found) > 0


def test_markdown_keeps_names_from_being_markup(inventory: str) -> None:
    done = run("assess", "--all", "--offline", inventory, "-o", "markdown")
    assert done.stdout.startswith("# Assessment\n\n**4 machines: 1 ready, 2 with warnings, 1 blocked**\n")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|") and "odd" in line]
    assert rows
    for row in rows:
        assert row.replace("\\|", "").count("|") == 5
        assert "<b>" not in row
        assert "`" not in row.replace("\\`", "")
