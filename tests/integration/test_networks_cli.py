"""`migratekit networks`: both sides, the mapping by file, by name, by answers and by line, and what is incomplete."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import pty
import select
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from migratekit_core.common.files import write_private
from tests.integration.estate_fixture import PASSWORD, logged_in
from tests.integration.machines import machine, thin
from tests.integration.test_source_networks import by_name
from tests.lab.lab import BINARY, COMMAND, ROOT, environment
from tests.lab.parts import cloud as clouds
from tests.lab.parts import process, vcenter

Json = dict[str, Any]
Done = subprocess.CompletedProcess[str]


def inventory() -> Json:
    small = [thin(8 << 20)]
    cards = {
        "web01": ["VM Network"],
        "web02": ["VM Network", "DC0_DVPG0"],
        "app01": ["DC0_DVPG1"],
        "twice01": ["VM Network", "VM Network"],
    }
    vms = [machine(name, *small, nics=[{"network": each} for each in nets]) for name, nets in cards.items()]
    return {"portgroups": 2, "vms": vms}


@dataclass
class Crossing:
    """A vCenter, a cloud, and the command line between them with an embedded database."""

    folder: Path
    vcenter: vcenter.VCenter
    cloud: clouds.Cloud

    def config(self, **mapped: str) -> Path:
        path = self.folder / "config.toml"
        lines = "".join(f'"{source}" = "{target}"\n' for source, target in mapped.items())
        write_private(
            path,
            f'[vcenter]\nhost = "127.0.0.1"\nport = {self.vcenter.port}\nuser = "{vcenter.USER}"\n'
            f'password = {{ file = "{self.folder}/vcenter.secret" }}\nca_file = "{self.vcenter.ca}"\n'
            f'[database]\nkind = "sqlite"\ndirectory = "{self.folder}/state"\n'
            f'[ossea]\napi_url = "{self.cloud.url}"\napi_key = {{ file = "{self.folder}/api.secret" }}\n'
            f'secret_key = {{ file = "{self.folder}/key.secret" }}\nzone = "lab-zone-1"\ndisk_offering = "Custom"\n'
            f'oma_vm = "oma01"\n[networks.map]\n{lines}',
        )
        return path

    def run(self, *arguments: str, code: int = 0, **mapped: str) -> Done:
        done = subprocess.run(
            [str(COMMAND), "--config", str(self.config(**mapped)), *arguments],
            env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done

    def networks(self, *arguments: str, **mapped: str) -> Json:
        found: Json = json.loads(self.run("networks", *arguments, "-o", "json", **mapped).stdout)
        assert found["schema"] == "migratekit.networks/1"
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crossing]:
    run = tmp_path_factory.mktemp("crossing")
    try:
        simulator = vcenter.start(run, BINARY, process.choose_port(None), PASSWORD, inventory())
        with logged_in(simulator) as service:
            # A portgroup is called as a network of the cloud is, but for the case.
            group = by_name(service, vim.dvs.DistributedVirtualPortgroup, "DC0_DVPG1")
            WaitForTask(group.Rename_Task("Guest-DMZ"))
        cloud = clouds.start(run, ROOT, process.choose_port(None))
        for name, secret in (("vcenter", PASSWORD), ("api", cloud.api_key), ("key", cloud.secret_key)):
            write_private(run / f"{name}.secret", secret)
        crossing = Crossing(run, simulator, cloud)
        crossing.run("db", "upgrade")
        yield crossing
    finally:
        process.end_all(run)


@pytest.fixture(autouse=True)
def empty(place: Crossing) -> None:
    """Every test begins without a stored mapping."""
    with contextlib.closing(sqlite3.connect(place.folder / "state" / "oma.sqlite")) as database, database:
        database.execute("DELETE FROM network_mappings")


def targets(found: Json) -> dict[str, list[str]]:
    return {source["name"]: source["targets"] for source in found["sources"]}


def test_both_sides_are_shown_and_what_is_incomplete(place: Crossing) -> None:
    found = place.networks(**{"VM Network": "guest-prod"})
    assert targets(found) == {"VM Network": ["guest-prod"], "DC0_DVPG0": [], "Guest-DMZ": []}
    (standard,) = [source for source in found["sources"] if source["name"] == "VM Network"]
    assert (standard["kind"], standard["path"], standard["state"]) == ("standard", "/DC0/network/VM Network", "present")
    assert [(card["vm"], card["label"]) for card in standard["cards"]][:2] == [
        ("twice01", "Network adapter 1"),
        ("twice01", "Network adapter 2"),
    ]
    assert {card["origin"] for card in standard["cards"]} == {"config"}
    goals = {goal["name"]: goal for goal in found["targets"]}
    assert goals.keys() >= {"guest-prod", "migration-test", "guest-dmz", "legacy-l2"}
    assert (goals["guest-prod"]["used_by"], goals["guest-prod"]["type"]) == (["VM Network"], "Isolated")
    assert (goals["legacy-l2"]["type"], goals["legacy-l2"]["cidr"]) == ("L2", "")
    problems = {problem for source in found["sources"] for problem in source["problems"]}
    assert problems == {
        "network 'DC0_DVPG0' is not mapped",
        "network 'Guest-DMZ' is not mapped",
        "Network adapter 1 and Network adapter 2 of twice01 both go to 'guest-prod'",
    }
    assert not found["complete"]
    refused = place.run("networks", "--check", code=4)
    assert "error: the mapping of networks is not complete" in refused.stderr
    # Of one machine that is complete.
    assert place.networks("web01", "--check", **{"VM Network": "guest-prod"})["complete"]


def test_a_file_maps_everything_and_can_be_had_back(place: Crossing, tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text(
        'schema = "migratekit.network-map/1"\n[map]\n"VM Network" = "guest-prod"\n'
        '"/DC0/network/DC0_DVPG0" = "guest-dmz"\n"Guest-DMZ" = false\n'
        '[cards.twice01]\n"Network adapter 2" = "legacy-l2"\n'
    )
    assert targets(place.networks("--map", str(file), "--dry-run"))["VM Network"] == []
    found = place.networks("--map", str(file), "--yes")
    assert targets(found) == {"VM Network": ["guest-prod", "legacy-l2"], "DC0_DVPG0": ["guest-dmz"], "Guest-DMZ": []}
    assert found["complete"]
    back = tmp_path / "back.csv"
    back.write_text(place.run("networks", "--export", "csv").stdout)
    assert place.networks("--map", str(back), "--replace", "--yes") == found


def test_only_with_replace_is_anything_removed(place: Crossing, tmp_path: Path) -> None:
    place.networks("--set", "VM Network=guest-prod")
    file = tmp_path / "map.csv"
    file.write_text("source,target\nDC0_DVPG0,guest-dmz\n")
    assert targets(place.networks("--map", str(file)))["VM Network"] == ["guest-prod"]
    done = place.run("networks", "--map", str(file), "--replace")
    assert "VM Network: its line is removed" in done.stderr
    rows = list(csv.reader(io.StringIO(place.run("networks", "--export", "csv").stdout)))
    assert rows == [["source", "target", "machine"], ["DC0_DVPG0", "guest-dmz", ""]]


def test_the_configuration_wins_over_what_is_stored_and_it_is_said(place: Crossing) -> None:
    place.networks("--set", "VM Network=guest-dmz", "--set", "nowhere=guest-dmz")
    found = place.networks(**{"VM Network": "guest-prod"})
    assert targets(found)["VM Network"] == ["guest-prod"]
    assert [(entry["source"], entry["target"], entry["origin"]) for entry in found["overridden"]] == [
        ("VM Network", "guest-dmz", "set")
    ]
    assert {entry["source"] for entry in found["unused"]} == {"VM Network", "nowhere"}
    told = place.run("networks", **{"VM Network": "guest-prod"}).stderr
    assert "networks.map wins over what is stored for VM Network (guest-dmz)" in told
    place.run("networks", "--unset", "VM Network", "--yes")
    assert targets(place.networks())["VM Network"] == []
    assert "nothing is stored for 'VM Network'" in place.run("networks", "--unset", "VM Network", code=4).stderr


def test_by_name_maps_what_is_called_the_same_and_nothing_else(place: Crossing) -> None:
    done = place.networks("--by-name", "--yes")
    assert targets(done) == {"VM Network": [], "DC0_DVPG0": [], "Guest-DMZ": ["guest-dmz"]}
    # What is mapped already stays as it is.
    place.networks("--set", "Guest-DMZ=guest-prod")
    assert targets(place.networks("--by-name", "--yes"))["Guest-DMZ"] == ["guest-prod"]


def test_every_target_that_does_not_exist_is_named_and_nothing_is_stored(place: Crossing) -> None:
    lines = ["--set", "VM Network=guest-prod", "--set", "a=guest-pord", "--set", "b=geust-dmz"]
    done = place.run("networks", *lines, code=4)
    assert "no network 'guest-pord'; CloudStack has no network 'geust-dmz'; it has: guest-dmz" in done.stderr
    assert targets(place.networks())["VM Network"] == []


def test_options_that_make_no_sense_are_refused(place: Crossing) -> None:
    for arguments in (("--by-name", "--set", "a=b"), ("--replace",), ("--set", "a"), ("--wizard",)):
        assert place.run("networks", *arguments, code=2).stderr.startswith("error: ")


def on_a_terminal(place: Crossing, answers: list[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal, and give each answer when its question has come."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(COMMAND), [str(COMMAND), "--config", str(place.config()), *arguments], environment())
    seen, waiting, deadline = "", list(answers), time.monotonic() + 90
    from_here = 0
    while time.monotonic() < deadline:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                seen += os.read(terminal, 4096).decode(errors="replace")
            except OSError:
                break
        if waiting and waiting[0][0] in seen[from_here:]:
            from_here = len(seen)
            os.write(terminal, (waiting.pop(0)[1] + "\n").encode())
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen


def test_the_wizard_asks_for_each_network_and_stores_what_is_confirmed(place: Crossing) -> None:
    ask = "goes to"
    # In the order of their paths; a wrong answer is asked again.
    answers = [(ask, "9"), (ask, "guest-dmz"), (ask, "-"), (ask, ""), ("Store this?", "y")]
    code, seen = on_a_terminal(place, answers, "networks", "--wizard")
    assert code == 0, seen
    assert "'9' is none of them" in seen
    assert "[1/3] /DC0/network/DC0_DVPG0 (distributed), used by web02" in seen
    found = place.networks()
    assert targets(found) == {"VM Network": [], "DC0_DVPG0": ["guest-dmz"], "Guest-DMZ": []}
    origins = {source["name"]: {card["origin"] for card in source["cards"]} for source in found["sources"]}
    assert origins == {"VM Network": {""}, "DC0_DVPG0": {"wizard"}, "Guest-DMZ": {"wizard"}}
