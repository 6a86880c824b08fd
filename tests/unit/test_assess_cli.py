"""`migratekit assess` without a connection: exit codes, forms, baselines, and its errors."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest
import yaml

from tests.unit.command import COMMAND, ROOT
from tests.unit.command import run as run_process
from tests.unit.inside import run
from tests.unit.inventory import disk, machine, nic, write

GOOD = machine()
WARNED = machine("warned01", disks=(disk(path="[ds1] w/1.vmdk"),), nics=(nic(2),), vtpm=True)
BAD = machine("bad01", disks=(disk(path="[ds1] b/1.vmdk", mode="independent_persistent"),), nics=(nic(3),))


def in_terminal(command: list[str], columns: int) -> str:
    """Run a command on a terminal of its own; return what it shows there."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    shown = b""
    environ = {key: value for key, value in os.environ.items() if key != "COLUMNS"} | {"NO_COLOR": "1", "TERM": "dumb"}
    with subprocess.Popen(command, stdin=far, stdout=far, stderr=subprocess.DEVNULL, env=environ) as process:
        os.close(far)
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while chunk := os.read(near, 1 << 16):
                shown += chunk
        process.wait(timeout=60)
    os.close(near)
    return shown.decode().replace("\r\n", "\n")


@pytest.fixture
def inventory(tmp_path: Path) -> str:
    """Return the path of an inventory of three machines."""
    return str(write(tmp_path / "inventory.json", GOOD, WARNED, BAD))


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["good01"], 0),
        (["good01", "--fail-on", "warning"], 0),
        (["warned01"], 0),
        (["warned01", "--fail-on", "warning"], 3),
        (["good01", "bad01"], 3),
        (["--all"], 3),
        (["/DC0/vm/prod/bad01", "-o", "json"], 3),
    ],
)
def test_the_exit_code_says_what_was_found(inventory: str, arguments: list[str], code: int) -> None:
    assert run("assess", *arguments, "--offline", inventory).returncode == code


def test_json_is_alone_on_stdout_and_tells_all(inventory: str) -> None:
    done = run_process("assess", "--all", "--offline", inventory, "-o", "json")
    found = json.loads(done.stdout)
    assert found["schema"] == "migratekit.assess/1"
    assert found["summary"]["blocker"] == 1
    assert [(each["vm"], each["verdict"]) for each in found["machines"]] == [
        ("good01", "ready"),
        ("warned01", "warnings"),
        ("bad01", "blocked"),
    ]
    worst = found["findings"][0]
    assert (worst["rule"], worst["vm"], worst["subject"]) == ("MK-DISK-002", "bad01", "Hard disk 1")
    assert {each["rule"] for each in found["not_checked"]} >= {"MK-PERM-001", "MK-TGT-001", "MK-NET-003"}


def test_the_table_names_rule_machine_and_part(inventory: str) -> None:
    done = run("assess", "--all", "--offline", inventory)
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["severity", "rule", "machine", "part", "finding"]
    assert lines[1][:4] == ["blocker", "MK-DISK-002", "/DC0/vm/prod/bad01", "Hard disk 1"]
    assert "3 machines: 1 ready, 1 with warnings, 1 blocked" in done.stderr
    assert "not checked: the target was not asked (--target): 22 rules\n" in done.stderr


def test_on_a_terminal_each_rule_says_once_why_and_what_to_do(tmp_path: Path) -> None:
    many = [
        machine(f"m{n:02}", disks=(disk(path=f"[ds1] m/{n}.vmdk", mode="independent_persistent"),), nics=(nic(n),))
        for n in range(22)
    ]
    path = write(tmp_path / "inventory.json", *many)
    command = [str(COMMAND), "assess", "--all", "--offline", str(path)]
    text = in_terminal(command, columns=80)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert text.count("blocker MK-DISK-002: independent disk") == 1
    assert text.count("why: Snapshots leave independent disks out") == 1
    assert text.count(" do: Power the machine off") == 1
    assert "    /DC0/vm/prod/m00, Hard disk 1: its mode is independent_persistent" in map(str.rstrip, lines)
    assert "… and 2 more" in text
    assert "\x1b[" not in text


def test_permissions_offline_are_not_checked_and_say_so(inventory: str) -> None:
    done = run("assess", "--permissions", "--offline", inventory)
    assert done.returncode == 0
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0] == ["command", "vsphere", "cloudstack"]
    rows = {line[0]: line[1:] for line in lines[1:]}
    assert rows["replicate"] == ["not checked", "-"]
    assert rows["failover"] == ["not checked", "not checked"]
    assert rows["cleanup"] == ["-", "not checked"]
    assert run("assess", "--permissions", "--offline", inventory, "-o", "sarif").returncode == 2


@pytest.mark.parametrize(
    "arguments", [["good01", "--all"], ["good01", "--reason", "x"], ["--all", "--expires", "2099-01-01"]]
)
def test_options_that_would_do_nothing_are_refused(inventory: str, arguments: list[str]) -> None:
    done = run("assess", *arguments, "--offline", inventory)
    assert (done.returncode, done.stdout) == (2, "")


def test_a_baseline_accepts_what_it_names_and_nothing_else(inventory: str, tmp_path: Path) -> None:
    accepted = str(tmp_path / "accepted.yaml")
    done = run(
        "assess", "--all", "--offline", inventory, "--write-baseline", accepted, "--reason", "agreed with the owner"
    )
    assert done.returncode == 0
    assert {entry["reason"] for entry in yaml.safe_load(Path(accepted).read_text())["accepted"]} == {
        "agreed with the owner"
    }
    again = run("assess", "--all", "--offline", inventory, "--baseline", accepted, "-o", "json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["findings"] == []
    assert json.loads(again.stdout)["summary"]["accepted"] > 0
    worse = machine(
        "bad01", disks=(disk(path="[ds1] b/1.vmdk", mode="independent_persistent"),), nics=(nic(3),), vtpm=True
    )
    more = write(tmp_path / "more.json", GOOD, WARNED, worse)
    news = run("assess", "--all", "--offline", str(more), "--baseline", accepted, "-o", "json")
    assert [(each["rule"], each["vm"]) for each in json.loads(news.stdout)["findings"]] == [("MK-DEV-009", "bad01")]


def test_an_accepted_finding_whose_time_is_up_is_one_again(inventory: str, tmp_path: Path) -> None:
    accepted = tmp_path / "accepted.yaml"
    entry = {"rule": "MK-DISK-002", "vm": "/DC0/vm/prod/bad*", "reason": "until the cluster is gone"}
    for expires, code in (("2099-12-31", 0), ("2020-01-01", 3)):
        accepted.write_text(
            yaml.safe_dump({"schema": "migratekit.assess-baseline/1", "accepted": [{**entry, "expires": expires}]})
        )
        done = run("assess", "--all", "--offline", inventory, "--baseline", str(accepted))
        assert done.returncode == code
        assert ("expired on 2020-01-01" in done.stderr) is (code == 3)


def test_reasons_given_by_hand_survive_a_new_baseline(inventory: str, tmp_path: Path) -> None:
    accepted = tmp_path / "accepted.yaml"
    entry = {"rule": "MK-DISK-002", "vm": "/DC0/vm/prod/*", "reason": "by hand"}
    accepted.write_text(yaml.safe_dump({"schema": "migratekit.assess-baseline/1", "accepted": [entry]}))
    run("assess", "--all", "--offline", inventory, "--write-baseline", str(accepted), "--expires", "2099-01-01")
    rows = yaml.safe_load(accepted.read_text())["accepted"]
    assert rows[0]["reason"] == "by hand"
    assert all(str(row["expires"]) == "2099-01-01" for row in rows[1:])
    assert "MK-DISK-002" not in {row["rule"] for row in rows[1:]}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("schema: something-else/1\n", "schema"),
        ("schema: migratekit.assess-baseline/1\naccepted:\n- rule: MK-DISK-002\n", "reason"),
        ("- a list\n", "no mapping"),
        ("schema: [", "cannot be read"),
    ],
)
def test_a_file_that_is_no_baseline_is_exit_2(inventory: str, tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "accepted.yaml"
    path.write_text(content)
    done = run("assess", "--all", "--offline", inventory, "--baseline", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("no json", "cannot be read"),
        ('{"schema": "migratekit.jobs/1", "jobs": []}', "migratekit.jobs/1"),
        ('{"schema": "migratekit.discover/1", "vms": [{"name": "web01"}]}', "vms.0"),
        ("[]", "is no inventory"),
    ],
)
def test_a_file_that_is_no_inventory_is_exit_2(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "inventory.json"
    if content is not None:
        path.write_text(content)
    done = run("assess", "--all", "--offline", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 3


def test_unknown_ambiguous_and_no_names(tmp_path: Path) -> None:
    twin = machine("good01", moref="vm-2", uuid="50bb", path="/DC0/vm/lab/good01")
    path = str(write(tmp_path / "inventory.json", GOOD, twin))
    assert run("assess", "nobody", "--offline", path).returncode == 4
    assert "similar names: good01;" in run("assess", "Good1", "--offline", path).stderr
    ambiguous = run("assess", "good01", "--offline", path)
    assert ambiguous.returncode == 4
    assert "/DC0/vm/lab/good01 (vm-2)" in ambiguous.stderr
    assert run("assess", "--offline", path).returncode == 2


def test_the_rules_page_is_up_to_date() -> None:
    done = run("assess", "--rules", "--output", "markdown")
    assert done.returncode == 0
    assert done.stdout == (ROOT / "docs" / "rules.md").read_text(), (
        "migratekit assess --rules -o markdown > docs/rules.md"
    )


def test_all_leaves_templates_and_machines_of_vcenters_own_out(tmp_path: Path) -> None:
    template = machine("gold", template=True, power="poweredOff", disks=(disk(path="[ds1] g/1.vmdk"),), nics=(nic(4),))
    agent = machine("vCLS-1", managed_by="com.vmware.vim.eam", disks=(disk(path="[ds1] v/1.vmdk"),), nics=())
    path = str(write(tmp_path / "inventory.json", GOOD, template, agent))
    found = json.loads(run("assess", "--all", "--offline", path, "-o", "json").stdout)
    assert [each["vm"] for each in found["machines"]] == ["good01"]
