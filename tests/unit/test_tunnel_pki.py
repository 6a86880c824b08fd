"""The life of the tunnel's certificates by the command line: issue, rotate, revoke, a new CA, warnings."""

from __future__ import annotations

import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import CliRunner

from migratekit_cli.main import app
from migratekit_core.adapters.tunnel import pki
from migratekit_core.adapters.tunnel.expiry import CACHE, SEEN_FILE, expiries, validity, warnings
from migratekit_core.adapters.tunnel.probe import probe
from migratekit_core.config.fleet import Fleet
from migratekit_core.config.schema import Config, Tunnel, TunnelServer
from tests.tunnels import Service, addresses, oma, running_services


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="mk") as name:
        pki.init(Path(name) / "a")
        yield Path(name)


def command(folder: Path, *arguments: str, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["tunnel", "pki", *arguments, "--folder", str(folder / "a"), "--output", "json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if code == 0 else done.stderr


def states(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in command(folder, "show")["issued"]:
        found.setdefault(one["name"], []).append(one["state"])
    return found


def serials(path: Path) -> set[int]:
    """Return the serial numbers that all lists of a file revoke."""
    end = b"-----END X509 CRL-----"
    lists = [x509.load_pem_x509_crl(part + end + b"\n") for part in path.read_bytes().split(end)[:-1]]
    return {entry.serial_number for held in lists for entry in held}


def serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def test_rotation_keeps_the_old_one_valid_until_it_is_revoked(folder: Path) -> None:
    old = serial(folder / "a" / "oma.pem")
    names = [one["names"] for one in command(folder, "show")["issued"] if one["name"] == "oma"]
    command(folder, "rotate", "oma", "--yes")
    new = serial(folder / "a" / "oma.pem")
    assert new != old
    assert states(folder) == {"oma": ["superseded", "valid"], "vma": ["valid"]}
    assert [one["names"] for one in command(folder, "show")["issued"] if one["name"] == "oma"] == [*names, *names]
    assert serials(folder / "a" / "crl.pem") == set()
    revoked = command(folder, "revoke", "oma", "--old", "--yes")["revoked"]
    assert [one["serial"] for one in revoked] == [f"{old:x}"]
    assert serials(folder / "a" / "crl.pem") == {old}
    assert states(folder)["oma"] == ["revoked", "valid"]


def test_revoking_is_asked_for_and_a_plan_changes_nothing(folder: Path) -> None:
    plan = command(folder, "revoke", "vma", "--dry-run")
    assert plan["serials"] == [f"{serial(folder / 'a' / 'vma.pem'):x}"]
    assert "pass --yes" in command(folder, "revoke", "vma", code=2)
    assert states(folder)["vma"] == ["valid"]
    command(folder, "revoke", "vma", "--yes")
    assert states(folder)["vma"] == ["revoked"]
    assert "nothing to revoke" in command(folder, "revoke", "vma", "--yes", code=4)
    # A name whose certificates are all revoked can have a new one.
    command(folder, "issue", "vma")
    assert states(folder)["vma"] == ["revoked", "valid"]


def test_a_name_has_one_certificate_and_is_a_files_name(folder: Path) -> None:
    assert "rotate vma" in command(folder, "issue", "vma", code=4)
    for name in ("../vma", "ca", "", "a b"):
        assert "cannot be a host's name" in command(folder, "issue", name, code=2)
    assert "no certificate was issued for vma9" in command(folder, "rotate", "vma9", code=4)
    assert not (folder / "vma.pem").exists()


def test_a_folder_of_an_older_version_is_taken_over(folder: Path) -> None:
    (folder / "a" / "issued.json").unlink()
    (folder / "a" / "crl.pem").unlink()
    assert states(folder) == {"oma": ["valid"], "vma": ["valid"]}
    old = serial(folder / "a" / "vma.pem")
    command(folder, "rotate", "vma")
    command(folder, "revoke", "vma", "--old", "--yes")
    assert serials(folder / "a" / "crl.pem") == {old}


def test_what_is_no_folder_of_certificates_is_named_so(folder: Path) -> None:
    (folder / "a" / "ca.key").unlink()
    assert "holds no usable CA" in command(folder, "show", code=4)


@pytest.fixture
def services() -> Iterator[dict[str, Service]]:
    with running_services() as running:
        yield running


def test_the_ca_is_replaced_host_by_host_without_anybody_being_shut_out(
    folder: Path, services: dict[str, Service]
) -> None:
    """Each step as docs/tunnel.md orders them; after each, the two hosts take each other as they are."""
    made, host = folder / "a", folder / "vma"
    host.mkdir()
    files = ("ca.pem", "crl.pem", "vma.pem")

    def copy(*names: str) -> None:
        for name in names:
            (host / name).write_bytes((made / name).read_bytes())

    def taken(certificate: Path = made / "oma.pem") -> str:
        with oma(folder, certificate, addresses(services)) as port:
            problem = probe(Tunnel(
                kind="tls", host="127.0.0.1", port=port, ca_file=host / "ca.pem", cert_file=host / "vma.pem",
                crl_file=host / "crl.pem", runtime_dir=folder / "run",
            )).problem  # fmt: skip
        return problem.what if problem else ""

    copy(*files)
    assert taken() == ""
    old_vma = (host / "vma.pem").read_bytes()
    command(folder, "rotate", "ca", "--yes")
    assert len(command(folder, "show")["authorities"]) == 2
    # The OMA trusts both by now (it reads the folder's files); the VMA still has its old ones.
    assert taken() == ""
    copy("ca.pem", "crl.pem")
    assert taken() == ""
    assert "still in use" in command(folder, "rotate", "ca", "--finish", "--yes", code=4)
    command(folder, "rotate", "oma")
    assert taken() == "", "the OMA is the new CA's, the VMA the old one's"
    command(folder, "rotate", "vma")
    copy("vma.pem")
    assert taken() == ""
    command(folder, "revoke", "oma", "--old", "--yes")
    command(folder, "rotate", "ca", "--finish", "--yes")
    copy("ca.pem", "crl.pem")
    assert taken() == ""
    assert len(command(folder, "show")["authorities"]) == 1
    (host / "vma.pem").write_bytes(old_vma)
    assert taken() == "this host's certificate is of another CA"


def config(folder: Path, days: float, end: str = "vma") -> Config:
    pki.issue(folder / "a", f"{end}-{days}", server=end == "oma", names=[], days=days)
    files = {"ca_file": folder / "a" / "ca.pem", "cert_file": folder / "a" / f"{end}-{days}.pem"}
    if end == "oma":
        return Config(tunnel=Tunnel(runtime_dir=folder / "run", server=TunnelServer(**files)))
    return Config(tunnel=Tunnel(kind="tls", host="oma", runtime_dir=folder / "run", **files))


@pytest.mark.parametrize("end", ["vma", "oma"])
def test_the_end_is_warned_about_thirty_days_before(folder: Path, end: str) -> None:
    assert warnings(config(folder, 31, end)) == []
    (line,) = warnings(config(folder, 29.5, end))
    assert "expires in 29 days" in line
    assert f"pki rotate {end}" in line
    assert f"{end}-29.5.pem" in line
    (line,) = warnings(config(folder, -1, end))
    assert "has expired" in line


def test_a_fleets_certificate_is_warned_about(folder: Path) -> None:
    pki.issue(folder / "a", "worker-9", server=False, names=[], days=9.5, fleet="worker")
    files = {"ca_file": folder / "a" / "ca.pem", "cert_file": folder / "a" / "worker-9.pem"}
    (line,) = warnings(Config(tunnel=Tunnel(runtime_dir=folder / "run"), fleet=Fleet(scheduler="vma1:8786", **files)))
    assert line.startswith("the fleet's certificate (")
    assert "expires in 9 days" in line


def test_the_authority_and_the_omas_own_certificate_are_warned_about(folder: Path) -> None:
    held = config(folder, 300)
    now = datetime.now(UTC)
    assert [line for line in warnings(held, now + timedelta(days=3640)) if "CA" in line]
    (folder / "run" / SEEN_FILE).write_text(json.dumps({"ends": (now + timedelta(days=3)).isoformat()}))
    (line,) = warnings(held, now)
    assert line.startswith("the OMA's certificate expires in 3 days")


def test_a_ca_that_is_being_replaced_is_good_and_a_chain_ends_with_its_first(folder: Path) -> None:
    config(folder, 5), config(folder, 300)
    short, long = ((folder / "a" / f"vma-{days}.pem").read_bytes() for days in (5, 300))
    certificates = [text[: text.index(b"-----BEGIN PRIVATE KEY")] for text in (short, long)]
    texts = {"authorities": b"".join(certificates), "chain": short + long}
    left = {name: validity(text)[1] - datetime.now(UTC) for name, text in texts.items()}
    assert timedelta(days=299) < left["authorities"] < timedelta(days=301)
    assert timedelta(days=4) < left["chain"] < timedelta(days=6)
    with pytest.raises(ValueError, match="PEM"):
        validity(b"no certificate")


def test_a_file_that_is_replaced_is_read_again(folder: Path) -> None:
    held = config(folder, 5)
    assert len(warnings(held)) == 1
    assert (folder / "run" / CACHE).exists()
    pki.rotate(folder / "a", "vma-5")
    assert warnings(held) == []
    (folder / "run" / CACHE).write_text("{not json")
    assert warnings(held) == []
    assert len(expiries(held)) == 2


def test_every_command_warns_on_stderr_and_leaves_stdout_alone(folder: Path) -> None:
    held = config(folder, 12)
    path = folder / "config.toml"
    tunnel = held.tunnel
    path.write_text(
        f'[tunnel]\nkind = "tls"\nhost = "oma"\nca_file = "{tunnel.ca_file}"\ncert_file = "{tunnel.cert_file}"\n'
        f'runtime_dir = "{tunnel.runtime_dir}"\n'
    )
    done = CliRunner().invoke(app, ["--config", str(path), "tunnel", "down", "--output", "json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"schema": "migratekit.tunnel-down/1", "stopped": False}
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: this host's certificate")
    assert "expires in 11 days" in line


def test_a_handshake_with_a_revoked_certificate_fails_with_openssl_alone(folder: Path) -> None:
    """The list is of use to others, too: OpenSSL by itself goes by it."""
    pki.revoke(folder / "a", "oma")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "a" / "oma.pem")
    client = ssl.create_default_context(cafile=str(folder / "a" / "ca.pem"))
    client.load_verify_locations(folder / "a" / "crl.pem")
    client.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    one, other = socket.socketpair()
    with one, other:

        def serve() -> None:
            with suppress(OSError):
                server.wrap_socket(other, server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            client.wrap_socket(one, server_hostname="db")
    assert caught.value.verify_code == 23
