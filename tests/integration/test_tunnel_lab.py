"""The tunnel's commands in the whole lab: what `test` measures, and a sync through the ssh kind."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from migratekit_core.common.files import write_private
from tests.integration.support import MIB, identical, leaked, no_children, nothing_left, report, run
from tests.lab.lab import COMMAND, Lab
from tests.lab.parts import sshd
from tests.lab.parts.process import choose_port, end

VM = "ssh01"


@pytest.fixture(scope="module")
def by_ssh(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The shared lab, reached by SSH: a server on its OMA, and a configuration that leads there."""
    lab = shared_lab
    services = {name: f"127.0.0.1:{lab.ports[part]}" for name, part in
                {"volumes": "daemon", "db": "db", "nbd": "nbd"}.items()}  # fmt: skip
    command = f"{COMMAND} --config {lab.daemon_config} tunnel server facts --output json"
    server = sshd.start(tmp_path_factory.mktemp("ssh") / "sshd", choose_port(None), services, command=command)
    text = lab.config.read_text()
    before, _, after = text.partition("[tunnel]")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as runtime:
        places = "".join(f'{name} = "{address}"\n' for name, address in services.items())
        table = (
            f'[tunnel]\nkind = "ssh"\nhost = "127.0.0.1"\nport = {server.port}\nruntime_dir = "{runtime}/vma"\n'
            f'[tunnel.ssh]\nuser = "{server.user}"\nhost_key = "{server.host_key}"\nkey_file = "{server.key_file}"\n'
            f"[tunnel.services]\n{places}"
        )
        config = Path(runtime) / "config.toml"
        write_private(config, before + table + after[after.index("[volumes]") :])
        changed = dataclasses.replace(lab, config=config)
        yield changed
        report(changed, "tunnel", "down")
    server.part.stop()


def test_a_full_and_an_incremental_sync_by_ssh(by_ssh: Lab) -> None:
    full = report(by_ssh, "replicate", VM)
    assert full["kind"] == "full"
    by_ssh.vcenter.write(VM, 0, MIB, b"written between two syncs".ljust(512, b"."))
    assert report(by_ssh, "replicate", VM)["kind"] == "incremental"
    assert report(by_ssh, "verify", VM)["identical"] is True
    identical(by_ssh, VM)
    nothing_left(by_ssh, VM)
    no_children(by_ssh)


@pytest.mark.parametrize("kind", ["tls", "ssh"])
def test_each_service_is_measured(lab: Lab, by_ssh: Lab, kind: str) -> None:
    found = report(by_ssh if kind == "ssh" else lab, "tunnel", "test", "--seconds", "0.2")
    by_name = {one["service"]: one for one in found["services"]}
    assert list(by_name) == ["volumes", "db", "nbd"]
    for one in by_name.values():
        assert 0 < one["latency_seconds"] < 10
        assert one["problem"] == ""
    for name, direction in (("volumes", "down"), ("db", "up"), ("db", "down"), ("nbd", "up")):
        assert by_name[name][f"{direction}_bytes_per_second"] > 0
    # Nothing was changed by it.
    assert list((lab.run / "daemon" / "exports").iterdir()) == []


def test_a_service_that_is_down_has_a_problem_and_the_others_have_figures(lab: Lab) -> None:
    lab.parts["daemon"].stop()
    try:
        done = run(lab, "tunnel", "test", "--seconds", "0.1")
    finally:
        lab.restart_daemon()
    assert done.returncode == 6, done.stderr
    rows = {line.split("\t")[0]: line.split("\t") for line in done.stdout.splitlines()}
    assert rows["volumes"][4]
    assert rows["db"][4] == ""
    assert rows["db"][1].endswith(" ms")
    assert leaked(lab, done.stdout + done.stderr) == []


@pytest.mark.parametrize("kind", ["tls", "ssh"])
def test_status_tells_of_both_ends(lab: Lab, by_ssh: Lab, kind: str) -> None:
    which = by_ssh if kind == "ssh" else lab
    report(which, "tunnel", "up")
    found = report(which, "tunnel", "status")
    assert (found["up"], found["remote_answers"], found["kind"]) == (True, True, kind)
    assert found["protocol"].startswith({"tls": "TLSv1.3", "ssh": "SSH-2.0-OpenSSH"}[kind])
    assert (found["oma_certificate_ends"] is None) == (kind == "ssh")


def test_the_local_end_of_ssh_is_started_again_by_the_next_command(by_ssh: Lab) -> None:
    first = report(by_ssh, "tunnel", "up")["pid"]
    end(first)
    done = run(by_ssh, "tunnel", "status")
    assert done.returncode == 6
    assert "local end: down" in done.stdout
    assert report(by_ssh, "db", "check")["differences"] == []
    assert report(by_ssh, "tunnel", "status")["pid"] != first
