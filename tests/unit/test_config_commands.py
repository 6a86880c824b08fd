"""`migratekit config`: a first file from options or a terminal, what is set and by whom, what is wrong."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import time
import tomllib
from pathlib import Path

import pytest

from migratekit_core.config import load_config
from tests.unit.command import COMMAND, run

PLANTED = "planted-Pa55word"
VMA = (
    *("--vcenter-host", "vc.example.com", "--vcenter-user", "u@vsphere.local", "--oma-host", "oma.example.com"),
    *("--api-url", "https://cloud.example.com/client/api", "--zone", "zone-1", "--oma-vm", "oma01"),
)


def typed(answers: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Run the command on a terminal, answer what it asks (by setting; others with Enter), return exit code and text."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(COMMAND, [str(COMMAND), *arguments])
    shown, answered = "", 0
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.2)[0]:
            question = shown[answered:].rpartition("\n")[2]
            if question.endswith(": "):
                os.write(
                    terminal, answers.get(question.partition(":")[0].removesuffix(" (not shown)"), "").encode() + b"\n"
                )
                answered = len(shown)
            continue
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # EIO: the other end is closed
            break
    else:
        os.kill(pid, signal.SIGKILL)
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_in_a_script_writes_a_private_file_that_loads(tmp_path: Path) -> None:
    file = tmp_path / "etc" / "config.toml"
    sources = ("--secret", "vcenter.password=env:VC", "--secret", "ossea.api_key=command:pass show 'cloud key'")
    more = ("--set", "replication.bandwidth=50M", "--set", "failover.power_off=true")
    done = run("config", "init", str(file), *VMA, *sources, *more, "--generate", "-o", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    config = load_config(file, environ={})
    assert config.vcenter is not None
    assert config.ossea is not None
    assert (config.vcenter.host, config.vcenter.password.env) == ("vc.example.com", "VC")
    assert config.ossea.api_key.command == ["pass", "show", "cloud key"]
    assert (config.replication.bandwidth, config.failover.power_off) == (50 << 20, True)
    assert (config.tunnel.kind, config.tunnel.cert_file) == ("tls", file.parent / "vma.pem")
    report = json.loads(done.stdout)
    assert report["schema"] == "migratekit.config-init/1"
    present = {each["setting"]: each["present"] for each in report["secrets"]}
    assert present == {
        "vcenter.password": True, "ossea.api_key": True, "ossea.secret_key": False,
        "database.password": True, "database.encryption_key": True, "volumes.token": True,
    }  # fmt: skip
    made = {path.name: path.read_text().strip() for path in file.parent.glob("*.secret")}
    assert set(made) == {"database.secret", "encryption.secret", "daemon.secret"}
    assert {mode(path) for path in file.parent.glob("*.secret")} == {0o600}
    assert not any(secret in file.read_text() + done.stdout for secret in made.values())


def test_init_for_the_oma_names_the_daemons_token(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    flags = ("--api-url", "https://c/client/api", "--zone", "z", "--oma-vm", "oma01", "--generate")
    assert run("config", "init", str(file), "--role", "oma", *flags).returncode == 0
    config = load_config(file, environ={})
    assert config.daemon is not None
    assert config.daemon.token_file == tmp_path / "daemon.secret"
    assert mode(tmp_path / "daemon.secret") == 0o600
    assert (config.vcenter, config.tunnel.kind) == (None, "none")


def test_init_without_a_terminal_names_every_missing_answer(tmp_path: Path) -> None:
    done = run("config", "init", str(tmp_path / "c.toml"), "--zone", "z")
    assert (done.returncode, done.stdout) == (2, "")
    for setting in ("vcenter.host", "vcenter.user", "ossea.api_url", "ossea.oma_vm", "tunnel.host"):
        assert setting in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("option", "says"),
    [
        (("--set", "vcenter.prot=1"), "vcenter.prot: unknown key; did you mean port?"),
        (("--set", "vcentre.host=x"), "vcentre: unknown key; did you mean vcenter?"),
        (("--api-url", "http://cloud.example.com/client/api"), "is not https"),
        (("--secret", f"vcenter.password={PLANTED}"), "names no source"),
        (("--secret", "vcenter.user=env:X"), "names no source"),
        (("--database", "oracle"), "database.kind: is 'oracle'"),
    ],
)
def test_init_refuses_what_would_not_load(tmp_path: Path, option: tuple[str, ...], says: str) -> None:
    done = run("config", "init", str(tmp_path / "c.toml"), *VMA, *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert PLANTED not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_init_replaces_settings_only_by_force(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("# as the package puts it: all comments\n")
    assert run("config", "init", str(file), *VMA).returncode == 0
    before = file.read_text()
    done = run("config", "init", str(file), *VMA, "--zone", "zone-2")
    assert done.returncode == 4
    assert file.read_text() == before
    assert run("config", "init", str(file), *VMA, "--zone", "zone-2", "--dry-run").returncode == 0
    assert file.read_text() == before
    assert run("config", "init", str(file), *VMA, "--zone", "zone-2", "--force").returncode == 0
    assert 'zone = "zone-2"' in file.read_text()


def test_init_asks_on_a_terminal_and_never_shows_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    answers = {
        "vcenter.host": "vc.example.com",
        "vcenter.user": "me",
        "vcenter.password": PLANTED,
        "ossea.api_url": "https://c/client/api",
        "ossea.zone": "zone-1",
        "ossea.oma_vm": "oma01",
        "tunnel.host": "oma.example.com",
        "database.kind": "sqlite",
    }
    code, shown = typed(answers, "config", "init", str(file))
    assert code == 0, shown
    assert PLANTED not in shown + file.read_text()
    settings = tomllib.loads(file.read_text())
    assert settings["vcenter"]["user"] == "me"
    assert settings["database"]["kind"] == "sqlite"
    assert "ca_file" not in settings["vcenter"]
    assert (tmp_path / "vcenter.secret").read_text() == PLANTED + "\n"
    assert mode(tmp_path / "vcenter.secret") == 0o600


def test_show_names_where_each_value_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(
        "[vcenter]\nhost = 'a'\nuser = 'u'\npassword = { command = ['vault', '-token=" + PLANTED + "'] }\n"
        "[replication]\nconnections = 2\n[profiles.dr.replication]\nconnections = 3\n"
    )
    environ = {"MIGRATEKIT_VCENTER__HOST": "b"}
    done = run("--config", str(file), "--profile", "dr", "config", "show", "-o", "json", **environ)
    assert done.returncode == 0, done.stderr
    assert PLANTED not in done.stdout
    report = json.loads(done.stdout)
    assert (report["schema"], report["files"], report["profile"]) == ("migratekit.config/1", [str(file)], "dr")
    assert report["not_configured"] == ["ossea", "daemon"]
    found = {each["setting"]: (each["value"], each["origin"]) for each in report["settings"]}
    assert found["vcenter.host"] == ("b", "MIGRATEKIT_VCENTER__HOST")
    assert found["vcenter.user"] == ("u", str(file))
    assert found["vcenter.password"] == ("command vault …", str(file))
    assert found["vcenter.port"] == (443, "default")
    assert found["replication.connections"] == (3, "profile dr")
    assert found["database.password"] == (None, "default")


def test_validate_finds_every_fault_at_once(tmp_path: Path) -> None:
    file, open_to_all = tmp_path / "c.toml", tmp_path / "open.secret"
    open_to_all.write_text(PLANTED)
    open_to_all.chmod(0o644)
    file.write_text(
        f"[vcenter]\nhost = 'a'\nuser = 'u'\npassword = {{ file = '{open_to_all}' }}\nca_file = '/nowhere/ca.pem'\n"
        "[volumes]\ntoken = { env = 'NOT_SET_ANYWHERE' }\n[database]\npassword = { command = ['no-such-program'] }\n"
    )
    done = run("--config", str(file), "config", "validate", "-o", "json")
    report = json.loads(done.stdout)
    assert PLANTED not in done.stdout
    assert {each["setting"]: each["exit_code"] for each in report["findings"]} == {
        "vcenter.password": 5, "vcenter.ca_file": 4, "database.password": 2, "volumes.token": 2
    }  # fmt: skip
    assert done.returncode == 5
    assert report["valid"] is False


def test_validate_says_which_key_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[replication]\nconections = 3\nboot_timeout = 4\n[netwroks]\ntest = 'x'\n")
    done = run("--config", str(file), "config", "validate", "-o", "json")
    assert done.returncode == 2
    said = {each["setting"]: each["what"] for each in json.loads(done.stdout)["findings"]}
    assert said == {
        "replication.conections": "unknown key; did you mean connections?",
        "replication.boot_timeout": "unknown key here; it belongs to [failover]",
        "netwroks": "unknown key; did you mean networks?",
    }


def test_validate_of_a_right_configuration_is_quiet(tmp_path: Path) -> None:
    file, secret = tmp_path / "c.toml", tmp_path / "x.secret"
    secret.write_text("x\n")
    secret.chmod(0o600)
    file.write_text(f"[vcenter]\nhost = 'a'\nuser = 'u'\npassword = {{ file = '{secret}' }}\n")
    done = run("--config", str(file), "config", "validate")
    assert (done.returncode, done.stderr) == (0, "")
    assert str(file) in done.stdout


def test_validate_without_any_configuration_says_how_to_begin(tmp_path: Path) -> None:
    done = run("config", "validate", HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    assert (done.returncode, done.stdout) == (0, "nothing is configured yet; begin with: migratekit config init\n")


def test_commands_of_secrets_run_only_when_asked(tmp_path: Path) -> None:
    file, mark = tmp_path / "c.toml", tmp_path / "ran"
    file.write_text(f"[volumes]\ntoken = {{ command = ['sh', '-c', 'echo x | tee {mark}'] }}\n")
    assert run("--config", str(file), "config", "validate").returncode == 0
    assert not mark.exists()
    assert run("--config", str(file), "config", "validate", "--run-commands").returncode == 0
    assert mark.exists()
