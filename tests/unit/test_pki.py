"""Certificates of the tunnel: private, of one CA, each for its own end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from migratekit_core.adapters.tunnel.pki import init, issue
from migratekit_core.common.errors import PreconditionError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki") / "new"
    init(folder)
    return folder


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def names(path: Path) -> list[str]:
    extension = certificate(path).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def test_all_files_are_private(folder: Path) -> None:
    made = sorted(path.name for path in folder.iterdir())
    assert made == ["ca.key", "ca.pem", "crl.pem", "issued.json", "oma.pem", "vma.pem"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_an_own_umask_does_not_open_them(tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", f"umask 000; {Path(sys.executable).parent}/migratekit tunnel pki init {tmp_path}/p"],
                   check=True, capture_output=True)  # fmt: skip
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "p").iterdir()} == {0o600}


@pytest.mark.parametrize(("name", "purpose"), [("oma", "sslserver"), ("vma", "sslclient")])
def test_openssl_accepts_each_for_its_end_only(folder: Path, name: str, purpose: str) -> None:
    other = {"sslserver": "sslclient", "sslclient": "sslserver"}[purpose]
    verify = ["openssl", "verify", "-x509_strict", "-CAfile", str(folder / "ca.pem"), "-purpose"]
    assert subprocess.run([*verify, purpose, str(folder / f"{name}.pem")], capture_output=True).returncode == 0
    assert subprocess.run([*verify, other, str(folder / f"{name}.pem")], capture_output=True).returncode != 0


def test_the_server_is_valid_for_its_services_and_the_client_for_none(folder: Path) -> None:
    assert set(names(folder / "oma.pem")) >= {"volumes", "db", "nbd"}
    assert not set(names(folder / "vma.pem")) & {"volumes", "db", "nbd"}


def test_a_second_ca_never_overwrites_the_first(folder: Path) -> None:
    before = (folder / "ca.key").read_bytes()
    with pytest.raises(PreconditionError):
        init(folder)
    assert (folder / "ca.key").read_bytes() == before


def test_a_further_host_gets_its_own_certificate(folder: Path, tmp_path: Path) -> None:
    for name in ("ca.pem", "ca.key"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    path = issue(tmp_path, "vma2", server=False, names=["vma2.example"])
    assert names(path) == ["vma2", "vma2.example"]
    made = certificate(path)
    assert made.issuer == certificate(folder / "ca.pem").subject
    made.verify_directly_issued_by(certificate(folder / "ca.pem"))
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.public_key() != certificate(folder / "vma.pem").public_key()
