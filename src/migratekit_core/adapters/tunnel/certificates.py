"""Makes keys, certificates and lists of revoked ones; what is kept of them where is `pki`'s business."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
LEAF_DAYS = 397
"""A year and a month: what public CAs were held to, and enough to rotate once a year without haste."""
BACKDATE = timedelta(minutes=5)
"""Clocks of two hosts differ: a certificate made just now has to be valid on the other one, too."""

FLEET_ROLES = ("scheduler", "worker", "client")
_FLEET_NAME = "migratekit-fleet-"


class Ca(NamedTuple):
    """A certificate authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def make_ca(days: float = CA_DAYS) -> Ca:
    """Return a new CA. Its name is its own: OpenSSL looks a CA and its list up by name."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"MigrateKit tunnel CA {datetime.now(UTC):%Y-%m-%d} {secrets.token_hex(3)}")
    certificate = (
        _builder(name, name, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Ca(certificate, key)


def read_ca(certificate: Path, key: Path) -> Ca:
    """Return the CA of two files; of several certificates it is the one that the key belongs to.

    Raises OSError or ValueError for files that hold something else.
    """
    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key.name} is no elliptic curve key")
    for found in x509.load_pem_x509_certificates(certificate.read_bytes()):
        if found.public_key() == private.public_key():
            return Ca(found, private)
    raise ValueError(f"{key.name} belongs to no certificate in {certificate.name}")


def make(
    ca: Ca, name: str, *, server: bool, names: Iterable[str], days: float = LEAF_DAYS, fleet: str = ""
) -> tuple[int, bytes]:
    """Return the serial number of a new certificate, and it with its key as PEM.

    `names` are DNS names or addresses that it is valid for (a server's), beside `name` itself; `fleet` is its part in a
    fleet (FLEET_ROLES): whoever has one both listens and connects.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH]
    if fleet:
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        names = [*names, fleet_name(fleet)]
    certificate = (
        _builder(_name(name), ca.certificate.subject, key, days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(text) for text in [name, *names]]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
        .sign(ca.key, hashes.SHA256())
    )
    return certificate.serial_number, to_pem(certificate) + key_pem(key)


def revocations(ca: Ca, revoked: Iterable[tuple[int, datetime]]) -> bytes:
    """Return the CA's list of revoked certificates (serial number and when), as PEM.

    It holds as long as the CA does: a list that runs out makes HAProxy refuse everybody.
    """
    now = datetime.now(UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(ca.certificate.subject)
        .last_update(now - BACKDATE)
        .next_update(ca.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    for serial, when in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(when).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(ca.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def to_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM, without a password: the services that use it start without anybody typing one."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def is_server(certificate: x509.Certificate) -> bool:
    """Return whether a certificate is a server's."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in usage


def fleet_name(role: str) -> str:
    """Return the name in a certificate that says which part its holder has in a fleet."""
    return _FLEET_NAME + role


def fleet_role(names: Iterable[str]) -> str:
    """Return the part in a fleet that a certificate's names give its holder; "" for none."""
    return next((name.removeprefix(_FLEET_NAME) for name in names if name.startswith(_FLEET_NAME)), "")


def names_of(certificate: x509.Certificate) -> list[str]:
    """Return the names and addresses that a certificate is valid for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    end = now + timedelta(days=days)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # One that has run out already (days < 0) has to have begun before that.
        .not_valid_before(min(now, end) - BACKDATE)
        .not_valid_after(end)
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
