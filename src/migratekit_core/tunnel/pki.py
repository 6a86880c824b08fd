"""Certificates of the tunnel: a CA of our own, one certificate for the OMA, one for each VMA."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from migratekit_core.errors import PreconditionError
from migratekit_core.files import write_private
from migratekit_core.tunnel import SERVICES

CA_DAYS = 3650
LEAF_DAYS = 397
"""A year and a month: what public CAs were held to, and enough to rotate once a year without haste."""
BACKDATE = timedelta(minutes=5)
"""Clocks of two hosts differ: a certificate made just now has to be valid on the other one, too."""

CA_FILE, CA_KEY_FILE = "ca.pem", "ca.key"


def init(folder: Path) -> list[Path]:
    """Make a CA in `folder`, a server certificate (`oma.pem`) and a client certificate (`vma.pem`); return the files.

    Each .pem of a host holds its certificate and its key, mode 0600. Raises PreconditionError where a CA is already.
    """
    if (folder / CA_FILE).exists():
        raise PreconditionError(f"{folder} already holds a CA", f"{CA_FILE} exists", "choose another folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("MigrateKit tunnel CA")
    certificate = (
        _builder(name, name, key, CA_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(folder / CA_KEY_FILE, _pem(key))
    write_private(folder / CA_FILE, certificate.public_bytes(serialization.Encoding.PEM))
    return [
        folder / CA_FILE,
        folder / CA_KEY_FILE,
        issue(folder, "oma", server=True, names=list(SERVICES)),
        issue(folder, "vma", server=False, names=[]),
    ]


def issue(folder: Path, name: str, *, server: bool, names: list[str]) -> Path:
    """Issue a certificate by the CA of `folder` for host `name`; return its file, certificate and key in one.

    `names` are DNS names or addresses that the certificate is valid for (a server's), beside `name` itself.
    """
    ca_key = serialization.load_pem_private_key((folder / CA_KEY_FILE).read_bytes(), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "init made it"
    ca = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    certificate = (
        _builder(_name(name), ca.subject, key, LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(text) for text in [name, *names]]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    write_private(path, certificate.public_bytes(serialization.Encoding.PEM) + _pem(key))
    return path


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + timedelta(days=days))
    )


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign,
        key_cert_sign=sign,
        crl_sign=sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
