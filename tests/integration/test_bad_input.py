"""What a user gets wrong, and what is away: exit codes, three lines, nothing changed, no secret told."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyVim.task import WaitForTask

from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.files import write_private
from tests.integration.machines import SLASHED
from tests.integration.support import (
    GIB,
    foreign_snapshot,
    identical,
    nothing_left,
    refused,
    replica,
    report,
    run,
    same_bytes,
    setting,
    sql,
    volume_ids,
    vsphere,
)
from tests.lab.lab import COMMAND, Lab
from tests.lab.parts.process import choose_port

WRONG = "not-the-right-secret"


@pytest.fixture
def wrong(tmp_path: Path) -> str:
    """A secret's source, as TOML, that holds a wrong one."""
    write_private(tmp_path / "wrong", WRONG)
    return f'{{ file = "{tmp_path}/wrong" }}'


@pytest.fixture
def closed() -> str:
    """A port on which nobody listens."""
    return str(choose_port(None))


def snapshots_of_others(lab: Lab, vm: str) -> list[str]:
    """Return the names of all snapshots of a machine."""
    with vsphere(lab, vm) as machine:
        return [tree.name for tree in machine.snapshot.rootSnapshotList] if machine.snapshot else []


# Logins, certificates, services that are away.


def test_wrong_vcenter_password(lab: Lab, wrong: str) -> None:
    for command in (["discover"], ["replicate", "room01"], ["failover", "room01", "--yes"]):
        said = refused(lab, run(lab, *command, MIGRATEKIT_VCENTER__PASSWORD=wrong), 5, ErrorCode.VCENTER_LOGIN_REFUSED)
        assert "refused the login" in said
        assert WRONG not in said


def test_unreachable_vcenter(lab: Lab, closed: str) -> None:
    said = refused(lab, run(lab, "discover", MIGRATEKIT_VCENTER__PORT=closed), 6, ErrorCode.VCENTER_UNREACHABLE)
    assert f"127.0.0.1:{closed}" in said


def test_untrusted_vcenter_certificate(lab: Lab) -> None:
    said = refused(
        lab,
        run(lab, "discover", MIGRATEKIT_VCENTER__CA_FILE=str(lab.run / "pki" / "ca.pem")),
        6,
        ErrorCode.VCENTER_UNTRUSTED,
    )
    assert "cannot be trusted" in said
    assert "vcenter.ca_file" in said


@pytest.mark.parametrize("command", ["test-failover", "failover"])
def test_unreachable_cloud(lab: Lab, closed: str, command: str) -> None:
    url = f"http://127.0.0.1:{closed}/client/api"
    yes = ["--yes"] if command == "failover" else []
    away = {"MIGRATEKIT_OSSEA__API_URL": url, "MIGRATEKIT_OSSEA__PATIENCE": "3"}
    said = refused(lab, run(lab, command, "deaf01", *yes, **away), 6, ErrorCode.CLOUDSTACK_UNREACHABLE)
    assert url in said
    assert "does not answer" in said
    # The signature is a secret of its own for a while.
    assert "signature" not in said


def test_wrong_cloud_keys(lab: Lab, wrong: str) -> None:
    said = refused(
        lab, run(lab, "test-failover", "deaf01", MIGRATEKIT_OSSEA__SECRET_KEY=wrong), 5, ErrorCode.BAD_CREDENTIALS
    )
    assert "refused the call" in said
    assert WRONG not in said


@pytest.fixture
def daemon_away(lab: Lab) -> Iterator[None]:
    lab.parts["daemon"].stop()
    yield
    lab.restart_daemon()


@pytest.mark.usefixtures("daemon_away")
def test_daemon_stopped(lab: Lab) -> None:
    said = refused(lab, run(lab, "replicate", "room01"), 6, ErrorCode.DAEMON_UNREACHABLE)
    assert "the volume daemon does not answer" in said


def test_wrong_daemon_token(lab: Lab, wrong: str) -> None:
    said = refused(
        lab, run(lab, "replicate", "room01", MIGRATEKIT_VOLUMES__TOKEN=wrong), 5, ErrorCode.DAEMON_TOKEN_REFUSED
    )
    assert "refused the token" in said
    assert "volumes.token" in said
    assert WRONG not in said
    nothing_left(lab)


@pytest.fixture
def database_away(lab: Lab) -> Iterator[None]:
    lab.parts["db"].stop()
    yield
    lab.restart_database()


@pytest.mark.usefixtures("database_away")
def test_database_stopped(lab: Lab) -> None:
    for command in (["replicate", "room01"], ["jobs", "list"], ["db", "check"], ["cleanup", "room01"]):
        said = refused(lab, run(lab, *command), 6, ErrorCode.DATABASE_UNREACHABLE)
        assert "MariaDB" in said
        assert "does not answer" in said


def test_wrong_database_password(lab: Lab, wrong: str) -> None:
    for command in (["replicate", "room01"], ["db", "upgrade"]):
        said = refused(
            lab, run(lab, *command, MIGRATEKIT_DATABASE__PASSWORD=wrong), 5, ErrorCode.DATABASE_LOGIN_REFUSED
        )
        assert "refused the login" in said
        assert WRONG not in said


@pytest.fixture
def renamed_column(lab: Lab) -> Iterator[None]:
    sql(lab, "ALTER TABLE vm_disks RENAME COLUMN disk_change_id TO change_mark")
    yield
    sql(lab, "ALTER TABLE vm_disks RENAME COLUMN change_mark TO disk_change_id")


@pytest.mark.usefixtures("renamed_column")
def test_database_schema_mismatch(lab: Lab) -> None:
    for command in (["replicate", "room01"], ["failover", "room01", "--yes"], ["cleanup", "room01"]):
        said = refused(lab, run(lab, *command), 7, ErrorCode.SCHEMA_MISMATCH)
        # Which table and column, what was expected, and what is there instead.
        assert "vm_disks.disk_change_id: expected column, found no such column (has: change_mark)" in said
        assert "migratekit db check" in said
    checked = run(lab, "db", "check")
    assert checked.returncode == 7
    rows = [line.split("\t") for line in checked.stdout.splitlines()]
    assert rows[0] == ["database", "table", "column", "expected", "found"]
    assert rows[1][:3] == ["oma", "vm_disks", "disk_change_id"]
    assert "change_mark" in rows[1][4]


# Configuration.


def test_missing_configuration(lab: Lab, tmp_path: Path) -> None:
    environment = setting(lab, HOME=str(tmp_path))
    for command in (["discover"], ["replicate", "web01"]):
        done = subprocess.run(
            [str(COMMAND), *command], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert "no [vcenter] table" in refused(lab, done, 2, ErrorCode.CONFIG_MISSING)
    done = subprocess.run(
        [str(COMMAND), "--config", str(tmp_path / "none.toml"), "discover"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "cannot be read" in refused(lab, done, 2, ErrorCode.FILE_UNREADABLE)


def edited(lab: Lab, tmp_path: Path, edit: Callable[[str], str]) -> str:
    """Return the path of the lab's configuration with something changed."""
    path = tmp_path / "config.toml"
    write_private(path, edit(lab.config.read_text()))
    return str(path)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda text: text.replace("[networks]", 'passwrod = "x"\n[networks]'), "volumes.passwrod: unknown key"),
        (lambda text: text + "\n[unknown]\nkey = 1\n", "unknown: unknown key"),
        (lambda text: text.replace('kind = "mariadb"', 'kind = "mariadb"\nhost = "192.0.2.1"'), "database.host"),
        (lambda text: text.replace("[vcenter]", "[vcenter"), "is not TOML"),
    ],
    ids=["unknown-key", "unknown-table", "beside-the-tunnel", "no-toml"],
)
def test_wrong_configuration(lab: Lab, tmp_path: Path, edit: Callable[[str], str], words: str) -> None:
    command = [str(COMMAND), "--config", edited(lab, tmp_path, edit), "discover"]
    done = subprocess.run(command, env=setting(lab), capture_output=True, text=True, timeout=60, check=False)
    assert words in refused(lab, done, 2, ErrorCode.CONFIG_INVALID)


def test_secret_that_others_can_read(lab: Lab, tmp_path: Path) -> None:
    secret = tmp_path / "open"
    secret.write_text(lab.secrets["vcenter"])
    secret.chmod(0o644)
    said = refused(
        lab,
        run(lab, "discover", MIGRATEKIT_VCENTER__PASSWORD=f'{{ file = "{secret}" }}'),
        5,
        ErrorCode.FILE_NOT_PRIVATE,
    )
    assert f"chmod 600 {secret}" in said


# Machines.

LOST = "/vmfs/volumes/4e1f-9a/lost01/lost01.vmx"


def test_unknown_machine(lab: Lab) -> None:
    for command in (["replicate", "nobody"], ["test-failover", "nobody"], ["failover", "nobody", "--yes"]):
        assert "'nobody'" in refused(lab, run(lab, *command), 4, ErrorCode.VM_NOT_FOUND)
    assert "'nobody'" in refused(lab, run(lab, "cleanup", "nobody"), 4, ErrorCode.VM_NOT_FOUND)


def test_ambiguous_name_and_the_ways_out(lab: Lab) -> None:
    said = refused(lab, run(lab, "replicate", "twin"), 4, ErrorCode.VM_AMBIGUOUS)
    assert "ambiguous" in said
    twins = [vm for vm in report(lab, "discover")["vms"] if vm["name"] == "twin"]
    assert len(twins) == 2
    for twin in twins:
        assert twin["path"] in said
        assert twin["moref"] in said
    for way in ("path", "moref", "uuid"):
        assert report(lab, "replicate", twins[1][way], "--dry-run")["vm"] == "twin"


def test_a_name_that_the_api_has_escaped(lab: Lab) -> None:
    """What the vSphere Client shows is what an operator types; what the API has is in older scripts."""
    (vm,) = report(lab, "discover", "--name", SLASHED)["vms"]
    escaped = vm["path"].rpartition("/")[2]
    assert (vm["name"], escaped) == (SLASHED, "50%25 of a%2fb")
    assert report(lab, "replicate", SLASHED)["kind"] == "full"
    assert report(lab, "replicate", escaped)["kind"] == "incremental"
    assert report(lab, "replicate", vm["path"], "--dry-run")["vm"] == SLASHED
    (volume,) = volume_ids(lab, SLASHED)
    same_bytes(Path(lab.cloud.volume(volume)["file"]), lab.vcenter.read(vm["moref"], 0))


@pytest.mark.parametrize("state", ["inaccessible", "invalid"])
def test_what_vsphere_has_lost_is_listed_and_never_replicated(lab: Lab, state: str) -> None:
    """One that is inaccessible may have its configuration; one that is invalid has none, and its path for a name."""
    found = next(vm for vm in report(lab, "discover")["vms"] if vm["name"] == "lost01")
    nothing = {"config.instanceUuid": "", "config.version": "", "config.hardware.device": []}
    changes = {"name": LOST, **nothing} if state == "invalid" else {}
    lab.vcenter.properties("VirtualMachine", found["moref"], {"runtime.connectionState": state, **changes})
    name = LOST if state == "invalid" else "lost01"
    (listed,) = [vm for vm in report(lab, "discover")["vms"] if vm["moref"] == found["moref"]]
    assert (listed["name"], listed["connection"]) == (name, state)
    assert listed["path"] in run(lab, "assess", "--all").stdout
    moref, path = found["moref"], listed["path"]
    for command in (f"replicate {name}", f"replicate {path} --dry-run", f"verify {moref}", f"failover {path} --yes"):
        done = run(lab, *command.split())
        assert done.returncode == 4, (command, done.stdout, done.stderr)
    if state == "invalid":
        lab.vcenter.http.delete(f"/lab/vms/{moref}").raise_for_status()
    nothing_left(lab)


def test_template(lab: Lab) -> None:
    with vsphere(lab, "template01") as machine:
        machine.MarkAsTemplate()
    assert "is a template" in refused(lab, run(lab, "replicate", "template01"), 4, ErrorCode.VM_UNFIT)
    assert replica(lab, "template01") == []


def test_snapshot_of_another_tool_without_change_tracking(lab: Lab) -> None:
    foreign_snapshot(lab, "backup-off")
    refused(lab, run(lab, "replicate", "backup-off", "--dry-run"), 4, ErrorCode.CBT_IMPOSSIBLE)
    said = refused(lab, run(lab, "replicate", "backup-off"), 4, ErrorCode.CBT_IMPOSSIBLE)
    assert "the machine has snapshots" in said
    assert snapshots_of_others(lab, "backup-off") == ["backup"]
    assert not lab.vcenter.vm("backup-off")["cbt"]


def test_snapshot_of_another_tool_with_change_tracking(lab: Lab) -> None:
    foreign_snapshot(lab, "backup-on")
    refused(lab, run(lab, "replicate", "backup-on", "--dry-run"), 4, ErrorCode.READER_UNFIT)
    said = refused(lab, run(lab, "replicate", "backup-on"), 4, ErrorCode.READER_UNFIT)
    assert "cannot be read by any reader" in said
    assert "already had a snapshot" in said
    # Ours is gone, the other's is not.
    assert snapshots_of_others(lab, "backup-on") == ["backup"]
    assert len(lab.vcenter.vm("backup-on")["snapshots"]) == 1
    nothing_left(lab)
    with vsphere(lab, "backup-on") as machine:
        WaitForTask(machine.RemoveAllSnapshots_Task())
    report(lab, "replicate", "backup-on")
    identical(lab, "backup-on")


# The cloud.


def test_no_space_in_the_cloud(lab: Lab) -> None:
    lab.cloud.room(GIB // 2)
    said = refused(lab, run(lab, "replicate", "room01"), 4, ErrorCode.NO_CAPACITY)
    assert "no host or storage that fits" in said
    assert "createVolume" in said
    nothing_left(lab)
    assert lab.vcenter.vm("room01")["snapshots"] == []


def test_quota_is_used_up_and_the_next_run_after_it_was_raised(lab: Lab) -> None:
    text = "Maximum amount of resources of Type = 'primary_storage', tag = 'null' for Account Name = migratekit "
    text += "in Domain Id = 1 is exceeded: Account Resource Limit = (1.00 GB) 1073741824."
    lab.cloud.fault(command="createVolume", mode="error", errorcode=535, text=text)
    said = refused(lab, run(lab, "replicate", "room01"), 4, ErrorCode.QUOTA)
    assert "the account's limit of primary_storage is reached" in said
    nothing_left(lab)
    report(lab, "replicate", "room01")
    identical(lab, "room01")
    nothing_left(lab, "room01")


# Failover.


def test_every_reason_against_a_failover_at_once(lab: Lab) -> None:
    before = lab.vcenter.vm("unmapped01")
    said = refused(lab, run(lab, "failover", "unmapped01", "--yes"), 4, ErrorCode.PREFLIGHT_FAILED)
    assert "'DC0_DVPG0'" in said
    assert "'DC0_DVPG1'" in said
    assert "never replicated" in said
    assert lab.vcenter.vm("unmapped01") == before
    assert "never replicated" in refused(lab, run(lab, "test-failover", "unmapped01"), 4, ErrorCode.PREFLIGHT_FAILED)


def test_failover_needs_a_confirmation_or_a_terminal(lab: Lab) -> None:
    report(lab, "replicate", "ignores01")
    said = run(lab, "failover", "ignores01")
    assert said.returncode == 2
    assert said.stdout == ""
    lines = said.stderr.splitlines()
    assert lines[-3:] == [
        "error: this needs a confirmation [no-terminal]",
        "  why: there is no terminal to ask on",
        "   do: pass --yes",
    ]
    # Before it asks, it tells what it would do.
    assert any("shut the source down" in line for line in lines[:-3])
    assert lab.vcenter.vm("ignores01")["power"] == "on"


def test_a_guest_that_cannot_be_asked_is_powered_off_only_if_allowed(lab: Lab) -> None:
    report(lab, "replicate", "deaf01")
    said = refused(lab, run(lab, "failover", "deaf01", "--yes"), 4, ErrorCode.PREFLIGHT_FAILED)
    assert "VMware Tools are not running" in said
    assert "--power-off" in said
    assert lab.vcenter.vm("deaf01")["power"] == "on"
    assert lab.cloud.machine("deaf01") is None
    # The refused failover left the replica usable, and does not stand in the way.
    lab.vcenter.write("deaf01", 0, 1 << 20, b"after the refusal")
    report(lab, "replicate", "deaf01")
    done = report(lab, "failover", "deaf01", "--yes", "--power-off")
    assert done["shutdown"] == "power off"
    assert lab.vcenter.vm("deaf01")["power"] == "off"
    machine = lab.cloud.machine("deaf01")
    assert machine is not None
    assert machine["state"] == "Running"
    identical(lab, "deaf01")
    nothing_left(lab, "deaf01")


def test_a_guest_that_ignores_the_shutdown_goes_on_running(lab: Lab) -> None:
    report(lab, "replicate", "ignores01")
    said = refused(
        lab,
        run(lab, "failover", "ignores01", "--yes", MIGRATEKIT_FAILOVER__SHUTDOWN_TIMEOUT="2"),
        4,
        ErrorCode.SOURCE_RUNS,
    )
    assert "did not shut down within 2 s" in said
    assert lab.vcenter.vm("ignores01")["power"] == "on"
    assert lab.cloud.machine("ignores01") is None
    nothing_left(lab, "ignores01")
