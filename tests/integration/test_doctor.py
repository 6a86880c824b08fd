"""`doctor` against a lab in which one thing at a time is broken for real: its line, its remedy, its exit code."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from migratekit_core.common.files import write_private
from tests.integration.support import leaked, run, setting, sql
from tests.lab.lab import COMMAND, Lab
from tests.lab.parts.process import end

Lines = list[dict[str, Any]]


def doctor(lab: Lab, *arguments: str, code: int, config: Path | None = None, prefix: tuple[str, ...] = (),
           **extra: str) -> Lines:  # fmt: skip
    """Run doctor, check its exit code and that it tells no secret, and return its lines."""
    command = [*prefix, str(COMMAND), "--config", str(config or lab.config), "doctor", *arguments, "-o", "json"]
    done = subprocess.run(
        command, env=setting(lab, **extra), capture_output=True, text=True, check=False, timeout=150,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    assert leaked(lab, done.stdout + done.stderr) == []
    report = json.loads(done.stdout)
    assert (report["schema"], report["exit_code"]) == ("migratekit.doctor/1", code)
    failed = [line for line in report["lines"] if line["status"] == "failed"]
    assert (report["verdict"] == "failed") == bool(failed)
    assert all(line["todo"] and line["exit_code"] for line in failed)
    return report["lines"]


def wrong(lines: Lines, status: str = "failed") -> dict[str, str]:
    """Return what was found, by what it is about, for lines of this status."""
    return {line["what"]: line["found"] for line in lines if line["status"] == status}


def topics(*names: str) -> list[str]:
    return [word for name in names for word in ("--topic", name)]


def test_a_whole_lab_is_ok_on_both_hosts(lab: Lab) -> None:
    here = doctor(lab, code=0)
    assert wrong(here) == {}
    # Whether NTP keeps this machine's clock is the machine's own affair.
    assert wrong(here, "skipped").keys() <= {"clock"}
    looked = {line["check"] for line in here}
    assert looked >= {
        "settings.secrets", "host.libnbd", "host.nbdkit", "host.plugins", "host.haproxy", "disk.space", "dns.names",
        "certificates.files", "certificates.vcenter", "tunnel.way", "clock.vcenter", "clock.oma", "database.answers",
        "database.schema", "database.key", "database.size", "database.connections",
        "daemon.answers", "daemon.exporter", "vcenter.login", "vcenter.privileges",
        "cloudstack.answers", "cloudstack.apis", "cloudstack.names",
    }  # fmt: skip
    there = doctor(lab, code=0, config=lab.daemon_config)
    assert wrong(there) == {}
    assert {"daemon.answers", "daemon.exporter", "host.devices"} <= {line["check"] for line in there}
    assert run(lab, "doctor", "--problems", *topics("dns", "disk")).stdout == ""


def test_a_wrong_password_is_exit_5_and_what_hangs_on_it_is_skipped(lab: Lab) -> None:
    extra = {"MIGRATEKIT_VCENTER__PASSWORD": '{ env = "WRONG" }', "WRONG": "not-the-password"}
    lines = doctor(lab, *topics("vcenter", "clock"), code=5, **extra)
    assert wrong(lines).keys() == {"vCenter"}
    assert "refused the login" in wrong(lines)["vCenter"]
    assert wrong(lines, "skipped").keys() >= {"vSphere privileges", "clock of vCenter"}


def test_a_missing_privilege_is_named(lab: Lab) -> None:
    lab.vcenter.deny("VirtualMachine.State.CreateSnapshot")
    try:
        lines = doctor(lab, *topics("vcenter"), code=5)
    finally:
        lab.vcenter.allow()
    assert "VirtualMachine.State.CreateSnapshot is missing on" in wrong(lines)["vSphere privileges"]


def certificate(lab: Lab, folder: Path, begins: timedelta, ends: timedelta) -> Path:
    """Make a certificate of the lab's CA that is valid between two moments, seen from now."""
    ca = x509.load_pem_x509_certificate((lab.run / "pki" / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((lab.run / "pki" / "ca.key").read_bytes(), None)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vma")]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .sign(ca_key, hashes.SHA256())  # type: ignore[arg-type]
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "client.pem"
    write_private(path, made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return path


def test_an_expired_certificate_is_exit_5_and_refused_by_the_oma(lab: Lab, tmp_path: Path) -> None:
    path = certificate(lab, tmp_path, -timedelta(days=9), -timedelta(days=2))
    extra = {"MIGRATEKIT_TUNNEL__CERT_FILE": str(path), "MIGRATEKIT_TUNNEL__RUNTIME_DIR": str(tmp_path / "r")}
    lines = doctor(lab, *topics("certificates", "tunnel", "database"), code=5, **extra)
    assert "has expired on" in wrong(lines)["tunnel.cert_file"]
    assert "tunnel" in wrong(lines)
    assert "database" in wrong(lines, "skipped")
    run(lab, "tunnel", "down", **extra)


def test_a_certificate_that_ends_soon_is_a_warning(lab: Lab, tmp_path: Path) -> None:
    path = certificate(lab, tmp_path, -timedelta(days=9), timedelta(days=12, hours=1))
    lines = doctor(lab, *topics("certificates"), code=0, MIGRATEKIT_TUNNEL__CERT_FILE=str(path))
    assert "expires in 12 days" in wrong(lines, "warning")["tunnel.cert_file"]
    done = run(lab, "doctor", "--strict", *topics("certificates"), MIGRATEKIT_TUNNEL__CERT_FILE=str(path))
    assert done.returncode == 4


def test_what_cloudstack_allows_is_told_without_the_daemon_too(lab: Lab) -> None:
    """The daemon's account is asked for as well; a daemon that does not answer costs its own line only."""
    end(lab.parts["daemon"].process.pid)
    lab.parts["daemon"].process.wait(60)
    try:
        lines = doctor(lab, *topics("cloudstack"), code=6)
    finally:
        lab.restart_daemon()
    (apis,) = [line for line in lines if line["check"] == "cloudstack.apis"]
    assert apis["status"] == "ok"


def test_a_stopped_daemon_is_exit_6(lab: Lab) -> None:
    end(lab.parts["daemon"].process.pid)
    lab.parts["daemon"].process.wait(60)
    try:
        lines = doctor(lab, *topics("tunnel", "daemon", "database"), code=6)
    finally:
        lab.restart_daemon()
    # Its exporter goes on: copies need it.
    assert wrong(lines).keys() == {"volume daemon"}
    assert {"tunnel", "database"} <= wrong(lines, "ok").keys()


def test_a_stopped_exporter_is_exit_6(lab: Lab) -> None:
    pid = int((lab.run / "daemon" / "nbdkit.pid").read_text().split()[0])
    subprocess.run(["kill", "-STOP", str(pid)], check=True)
    try:
        lines = doctor(lab, *topics("daemon"), code=6, config=lab.daemon_config)
    finally:
        subprocess.run(["kill", "-CONT", str(pid)], check=True)
    assert wrong(lines).keys() == {"exporter"}


def test_a_wrong_token_is_exit_5(lab: Lab) -> None:
    extra = {"MIGRATEKIT_VOLUMES__TOKEN": '{ env = "WRONG" }', "WRONG": "not-the-token"}
    assert "refused the token" in wrong(doctor(lab, *topics("daemon"), code=5, **extra))["volume daemon"]


def test_another_schema_is_exit_7(lab: Lab) -> None:
    sql(lab, "ALTER TABLE device_mappings RENAME COLUMN linux_state TO kernel_state", database="migratekit_volumes")
    try:
        lines = doctor(lab, *topics("database"), code=7)
    finally:
        sql(lab, "ALTER TABLE device_mappings RENAME COLUMN kernel_state TO linux_state", database="migratekit_volumes")
    assert "device_mappings.linux_state" in wrong(lines)["database schema"]


def test_a_clock_that_is_wrong_is_seen_against_both_sides(lab: Lab) -> None:
    assert shutil.which("faketime"), "run: make setup"
    lines = doctor(lab, *topics("clock"), code=4, prefix=("faketime", "-f", "+10m"), DONT_FAKE_MONOTONIC="1")
    found = wrong(lines)
    assert found.keys() == {"clock of vCenter", "clock of the OMA"}
    for text in found.values():
        seconds, _, rest = text.partition(" s ")
        assert rest == "behind this host's"
        assert 590 < float(seconds) < 720


def test_a_clock_that_is_behind_makes_certificates_come_from_the_future(lab: Lab) -> None:
    prefix = ("faketime", "-f", "-2d")
    lines = doctor(lab, *topics("certificates", "clock"), code=5, prefix=prefix, DONT_FAKE_MONOTONIC="1")
    line = next(line for line in lines if line["what"] == "tunnel.cert_file")
    assert "is valid from" in line["found"]
    assert "set this host's clock" in line["todo"]


def test_what_other_topics_fail_with_is_said_where_only_one_was_asked_for(lab: Lab) -> None:
    lines = doctor(lab, *topics("clock"), code=6, MIGRATEKIT_VCENTER__PORT="9")
    assert "does not answer" in wrong(lines)["clock of vCenter"]


def with_mounts(script: str) -> tuple[str, ...]:
    """Return a prefix that runs a command where `script` has changed the mounts, for that command alone."""
    root = () if os.geteuid() == 0 else ("--map-root-user",)
    return ("unshare", *root, "--mount", "sh", "-c", f'{script} && exec "$@"', "sh")


def test_a_full_disk_is_seen(lab: Lab, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    fill = f"mount -t tmpfs -o size=8m none {small} && head -c 7m /dev/zero > {small}/filler"
    extra = {"MIGRATEKIT_DATABASE__KIND": "sqlite", "MIGRATEKIT_DATABASE__DIRECTORY": str(small)}
    lines = doctor(lab, *topics("disk"), code=1, prefix=with_mounts(fill), **extra)
    assert "1.0 MiB free of 8.0 MiB" in wrong(lines)["room for database.directory"]


def test_a_missing_plugin_is_exit_4(lab: Lab) -> None:
    plugin = next(Path("/usr/lib").glob("*/nbdkit/plugins/nbdkit-python-plugin.so"))
    lines = doctor(lab, *topics("host"), code=4, prefix=with_mounts(f"mount --bind /dev/null {plugin}"))
    assert wrong(lines).keys() == {"nbdkit plugin python"}


def test_a_secret_that_others_can_read_and_a_name_that_does_not_resolve(lab: Lab, tmp_path: Path) -> None:
    secret = tmp_path / "open.secret"
    secret.write_text("planted\n")
    secret.chmod(0o644)
    extra = {"MIGRATEKIT_VCENTER__PASSWORD": f'{{ file = "{secret}" }}', "MIGRATEKIT_VCENTER__HOST": "no-such.invalid"}
    lines = doctor(lab, *topics("settings", "dns"), code=5, **extra)
    assert wrong(lines).keys() == {"vcenter.password", "vcenter.host"}
    assert {line["exit_code"] for line in lines if line["status"] == "failed"} == {5, 6}


def test_what_the_cloud_does_not_have_is_named(lab: Lab) -> None:
    extra = {
        "MIGRATEKIT_OSSEA__ZONE": "nowhere",
        "MIGRATEKIT_NETWORKS__TEST": "no-net",
        "MIGRATEKIT_OSSEA__TEMPLATE": "x",
    }
    lines = doctor(lab, *topics("cloudstack"), code=4, **extra)
    assert wrong(lines).keys() == {"zone", "network of the target"}
    assert wrong(lines, "warning").keys() == {"template"}


def test_one_that_never_answers_costs_its_own_line_only(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        lines = doctor(lab, *topics("vcenter", "dns"), "--timeout", "6", code=6, MIGRATEKIT_VCENTER__PORT=port)
    assert wrong(lines)["vCenter"] == "no answer within 6 s"
    assert "vcenter.host" in wrong(lines, "ok")


def test_an_unknown_topic_is_exit_2(lab: Lab) -> None:
    assert run(lab, "doctor", "--topic", "weather").returncode == 2


@pytest.mark.parametrize("remote", [[], ["--remote"]])
def test_the_oma_is_asked_about_itself_only_when_wanted(lab: Lab, remote: list[str]) -> None:
    done = run(lab, "doctor", "--topic", "remote", *remote, "-o", "json")
    assert bool(json.loads(done.stdout)["lines"]) == bool(remote)
