"""migratekit volumes, as an operator uses it by hand: look, plan, change, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml

from migratekit_core.common.codes import ErrorCode
from tests.integration.support import MIB, eventually, refused, report, run, setting, sql
from tests.lab.lab import COMMAND, Lab
from tests.unit.terminal import on_terminal


@pytest.fixture
def volume(lab: Lab) -> Iterator[dict[str, str]]:
    """A volume of ours, which is gone afterwards."""
    headers = {"Authorization": f"Bearer {lab.secrets['daemon']}"}
    url = f"http://127.0.0.1:{lab.ports['daemon']}/api/v1"
    with httpx.Client(headers=headers, timeout=60, trust_env=False) as http:

        def accepted(answer: httpx.Response) -> Any:
            return answer.json() if answer.status_code == 202 else None

        def change(method: str, path: str, **body: object) -> Any:
            # 409 for as long as an operation of the test works on it: the machine's slots have to be free afterwards.
            answer = eventually(path, lambda: accepted(http.request(method, url + path, json=body or None)), 90)
            return eventually(path, lambda: http.get(f"{url}/operations/{answer['id']}?wait=20").json()["response"], 90)

        tags = {"migratekit": "00000000-0000-0000-0000-000000000003"}
        made = change("POST", "/volumes", name="by-hand", size=MIB, tags=tags)
        yield made
        for action in ("unexport", "detach"):
            change("POST", f"/volumes/{made['volume_id']}/{action}")
        change("DELETE", f"/volumes/{made['volume_id']}")


def cloud_vm(lab: Lab, volume_id: str) -> object:
    return lab.cloud.volume(volume_id)["virtualmachineid"]


def test_attach_export_and_back(lab: Lab, volume: dict[str, str]) -> None:
    name, volume_id = volume["name"], volume["volume_id"]

    # A plan changes nothing.
    planned = report(lab, "volumes", "attach", name, "--dry-run")
    assert planned["schema"] == "migratekit.volume-plan/1"
    assert planned["volume_id"] == volume_id
    assert planned["steps"]
    assert cloud_vm(lab, volume_id) is None

    # Nobody to ask, and no --yes: nothing is done.
    silent = run(lab, "volumes", "attach", name)
    assert silent.returncode == 2
    assert "pass --yes" in silent.stderr
    assert cloud_vm(lab, volume_id) is None

    done = report(lab, "volumes", "attach", name, "--yes")
    assert done["schema"] == "migratekit.volume-change/1"
    assert done["result"]["device_path"]
    assert cloud_vm(lab, volume_id) is not None
    (job,) = sql(lab, "SELECT kind, status FROM joblog_jobs WHERE id = %s", done["job_id"])
    assert (job["kind"], job["status"]) == ("volumes-attach", "completed")
    (inner,) = sql(lab, "SELECT kind FROM joblog_jobs WHERE parent_job_id = %s", done["job_id"])
    assert inner["kind"] == "volume-attach"

    exported = report(lab, "volumes", "export", volume_id, "--vm-name", "web01", "--disk", "7", "--yes")
    assert exported["result"]["export_name"].startswith("migration-web01-7-")
    shown = report(lab, "volumes", "show", name)["volume"]
    assert shown["export_name"] == exported["result"]["export_name"]
    assert shown["linux_state"] == "attached"
    assert shown["snapshots"] == []

    refused(lab, run(lab, "volumes", "detach", name, "--yes"), 4, ErrorCode.EXPORTED)
    report(lab, "volumes", "unexport", name, "--yes")
    assert report(lab, "volumes", "unexport", name, "--dry-run")["steps"] == []
    report(lab, "volumes", "detach", name, "--yes")
    assert cloud_vm(lab, volume_id) is None

    operations = report(lab, "volumes", "operations", "--limit", "20")["operations"]
    mine = [row for row in operations if row["volume_id"] == volume_id]
    assert [row["type"] for row in mine][:4] == ["detach", "unexport", "export", "attach"]
    one = report(lab, "volumes", "operations", mine[0]["id"])["operations"]
    assert one == [mine[0]]


def test_what_is_not_there_or_not_possible_is_refused(lab: Lab, volume: dict[str, str]) -> None:
    told = refused(lab, run(lab, "volumes", "show", "no-such-volume"), 4, ErrorCode.GONE)
    assert "migratekit volumes list" in told
    told = refused(lab, run(lab, "volumes", "export", volume["name"], "--yes"), 4, ErrorCode.NOT_ATTACHED)
    assert f"migratekit volumes attach {volume['volume_id']}" in told
    refused(lab, run(lab, "volumes", "operations", "00000000-0000-0000-0000-000000000000"), 4, ErrorCode.GONE)
    lab.cloud.fault(command="attachVolume", mode="error", errorcode=530, text="not today", count=1)
    told = refused(lab, run(lab, "volumes", "attach", volume["name"], "--yes"), 1, ErrorCode.UNKNOWN)
    assert "not today" in told


def test_yaml_and_tables_hold_the_same(lab: Lab, volume: dict[str, str]) -> None:
    as_json = json.loads(run(lab, "volumes", "show", volume["name"], "-o", "json").stdout)
    assert yaml.safe_load(run(lab, "volumes", "show", volume["name"], "-o", "yaml").stdout) == as_json
    table = dict(
        line.split("\t", 1) for line in run(lab, "volumes", "show", volume["name"]).stdout.splitlines() if "\t" in line
    )
    assert table["id"] == volume["volume_id"]
    assert table["size"] == "1.0 GiB"


def test_on_a_terminal_a_yes_is_enough(lab: Lab, volume: dict[str, str]) -> None:
    command = (COMMAND, "--config", lab.config, "volumes", "attach", volume["name"])
    for said, code, attached in (("n\r", 1, False), ("y\r", 0, True)):
        with on_terminal(*command, environ=setting(lab)) as seen:
            seen.until_last("Attach this volume? [y/N]:")
            seen.type(said)
            assert seen.end() == code, seen.screen
        assert (cloud_vm(lab, volume["volume_id"]) is not None) is attached
