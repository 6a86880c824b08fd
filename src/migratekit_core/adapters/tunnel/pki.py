"""The folder of the tunnel's certificates: its CA, what it issued, what it revoked.

| File | |
|---|---|
| ca.pem, ca.key | the CA; ca.pem holds two certificates while a new CA takes over from an old one |
| old-ca.pem, old-ca.key | the CA that is being replaced |
| crl.pem | what is revoked; made anew with each change, and valid as long as the CA |
| NAME.pem | the newest certificate of a host, with its key |
| issued.json | every certificate that was ever issued here |

A file is replaced as a whole, and the record is written before what follows of it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from migratekit_core.adapters.tunnel import SERVICES
from migratekit_core.adapters.tunnel.certificates import (
    FLEET_ROLES,
    LEAF_DAYS,
    Ca,
    fleet_role,
    is_server,
    key_pem,
    make,
    make_ca,
    names_of,
    read_ca,
    revocations,
    to_pem,
)
from migratekit_core.adapters.tunnel.expiry import WARN
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import PreconditionError, UsageError
from migratekit_core.common.files import write_private

CA_FILE, CA_KEY_FILE, CRL_FILE, RECORD = "ca.pem", "ca.key", "crl.pem", "issued.json"
OLD_CA_FILE, OLD_CA_KEY_FILE = "old-ca.pem", "old-ca.key"
CA_NAME = "ca"
_SAFE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}")


@dataclass(frozen=True)
class Issued:
    """A certificate that this CA, or the one before it, issued. Times are UTC, in ISO 8601."""

    name: str
    server: bool
    names: list[str]
    serial: str
    """Hexadecimal."""
    issuer: str
    not_after: str
    revoked_at: str | None = None
    superseded: bool = False
    """Whether a newer certificate of this name exists."""

    @property
    def fleet(self) -> str:
        """Return its part in a fleet: scheduler, worker, client; "" for none."""
        return fleet_role(self.names)

    @property
    def ends(self) -> datetime:
        """Return when it stops being valid."""
        return datetime.fromisoformat(self.not_after)

    def state(self, now: datetime) -> str:
        """Return `revoked`, `expired`, `expires soon`, `superseded` (by a newer one, and still valid) or `valid`."""
        if self.revoked_at:
            return "revoked"
        if self.ends <= now:
            return "expired"
        if self.superseded:
            return "superseded"
        return "expires soon" if self.ends - now < WARN else "valid"


@dataclass(frozen=True)
class Authority:
    """A CA of the folder, without its key."""

    name: str
    not_after: str
    replaced: bool
    """Whether it is the old one of two."""


def init(folder: Path) -> list[Path]:
    """Make a CA in `folder`, a server certificate (`oma.pem`) and a client certificate (`vma.pem`); return the files.

    All of them have mode 0600. Raises PreconditionError where a CA is already.
    """
    if (folder / CA_FILE).exists():
        raise PreconditionError(
            f"{folder} already holds a CA",
            f"{CA_FILE} exists",
            "choose another folder",
            code=ErrorCode.FILE_EXISTS,
            facts={"path": str(folder)},
        )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = make_ca()
    write_private(folder / CA_KEY_FILE, key_pem(ca.key))
    write_private(folder / CA_FILE, to_pem(ca.certificate))
    _write_record(folder, [])
    _write_crl(folder)
    return [
        *(folder / name for name in (CA_FILE, CA_KEY_FILE, CRL_FILE)),
        issue(folder, "oma", server=True, names=list(SERVICES)),
        issue(folder, "vma", server=False, names=[]),
    ]


def issue(folder: Path, name: str, *, server: bool, names: list[str], days: float = LEAF_DAYS, fleet: str = "") -> Path:
    """Issue a certificate for host `name`; return its file, certificate and key in one.

    `names` are DNS names or addresses that it is valid for (a server's), beside `name` itself; `fleet` is its part in a
    fleet. Raises UsageError for a name that cannot be a file's, or an unknown part, PreconditionError where the name
    has a certificate already, or the folder no CA.
    """
    if fleet and fleet not in FLEET_ROLES:
        raise UsageError(
            f"a fleet has no {fleet}", f"it has: {', '.join(FLEET_ROLES)}", "name one of them", code=ErrorCode.USAGE
        )
    if not _SAFE_NAME.fullmatch(name) or name in (CA_NAME, "old-ca", "crl"):
        raise UsageError(
            f"{name!r} cannot be a host's name here",
            "it becomes a file's name",
            "use letters and digits",
            code=ErrorCode.USAGE,
            facts={"name": name},
        )
    with _locked(folder):
        held = _record(folder)
        if any(known.name == name and not known.revoked_at for known in held):
            raise PreconditionError(
                f"{name} has a certificate already",
                f"{RECORD} lists it",
                f"rotate it: tunnel pki rotate {name}",
                code=ErrorCode.CERTIFICATE_EXISTS,
                facts={"name": name},
            )
        return _issue(folder, held, name, server, names, days, fleet)


def rotate(folder: Path, name: str, *, days: float = LEAF_DAYS) -> Path:
    """Issue a new certificate with the names of the one that host `name` has; return its file.

    The one before stays valid, so that the host goes on until the new file is in place. Raises PreconditionError where
    the name has none.
    """
    with _locked(folder):
        held = _record(folder)
        last = _newest(held, name)
        names = [other for other in last.names if other != name and not fleet_role([other])]
        # A certificate of a fleet is a server's and a client's; as a tunnel's it is a client's.
        return _issue(folder, held, name, last.server and not last.fleet, names, days, last.fleet)


def revoke(folder: Path, name: str, *, old_only: bool = False) -> list[Issued]:
    """Revoke every certificate of `name`, or with `old_only` all but the newest; return what was revoked.

    crl.pem is written anew. Raises PreconditionError where there is none to revoke.
    """
    with _locked(folder):
        held = _record(folder)
        newest = _newest(held, name)
        now = _text(datetime.now(UTC))
        chosen = [
            known for known in held
            if known.name == name and not known.revoked_at and not (old_only and known.serial == newest.serial)
        ]  # fmt: skip
        if not chosen:
            raise PreconditionError(
                f"{name} has nothing to revoke",
                "all of its certificates are revoked",
                "look with: tunnel pki show",
                code=ErrorCode.CERTIFICATE_NOT_ISSUED,
                facts={"name": name},
            )
        revoked = [replace(known, revoked_at=now) for known in chosen]
        by_serial = {known.serial: known for known in revoked}
        _write_record(folder, [by_serial.get(known.serial, known) for known in held])
        _write_crl(folder)
        return revoked


def rotate_ca(folder: Path) -> Path:
    """Put a new CA in the old one's place; ca.pem holds both from now on. Return it.

    Hosts trust both as soon as they have the new ca.pem and crl.pem; then each is rotated, and `finish_ca` ends it.
    Raises PreconditionError where a rotation is under way already.
    """
    with _locked(folder):
        if (folder / OLD_CA_FILE).exists():
            raise PreconditionError(
                "the CA is being rotated already",
                f"{OLD_CA_FILE} exists",
                "end that: tunnel pki rotate ca --finish",
                code=ErrorCode.CA_ROTATION,
            )
        old, new = _ca(folder), make_ca()
        write_private(folder / OLD_CA_KEY_FILE, key_pem(old.key))
        write_private(folder / OLD_CA_FILE, to_pem(old.certificate))
        # The certificates first: a key that fits none of them would leave the folder without a CA.
        write_private(folder / CA_FILE, to_pem(new.certificate) + to_pem(old.certificate))
        write_private(folder / CA_KEY_FILE, key_pem(new.key))
        _write_crl(folder)
        return folder / CA_FILE


def finish_ca(folder: Path) -> Path:
    """End a rotation of the CA: ca.pem holds the new one alone. Return it.

    Raises PreconditionError where none is under way, or a host's newest certificate is still the old CA's.
    """
    with _locked(folder):
        if not (folder / OLD_CA_FILE).exists():
            raise PreconditionError(
                "no CA is being rotated",
                f"there is no {OLD_CA_FILE}",
                "first: tunnel pki rotate ca",
                code=ErrorCode.CA_ROTATION,
            )
        ca = _ca(folder)
        issuer = ca.certificate.subject.rfc4514_string()
        late = [
            known.name for known in _record(folder)
            if not known.superseded and not known.revoked_at and known.issuer != issuer
        ]  # fmt: skip
        if late:
            raise PreconditionError(
                "the old CA is still in use", f"by the certificate of {', '.join(late)}",
                f"rotate it first: tunnel pki rotate {late[0]}", code=ErrorCode.CA_ROTATION)  # fmt: skip
        write_private(folder / CA_FILE, to_pem(ca.certificate))
        for name in (OLD_CA_KEY_FILE, OLD_CA_FILE):
            (folder / name).unlink(missing_ok=True)
        _write_crl(folder)
        return folder / CA_FILE


def show(folder: Path) -> tuple[list[Authority], list[Issued]]:
    """Return the CAs of the folder, and every certificate that was issued in it, the oldest first.

    Raises PreconditionError where the folder holds no CA.
    """
    ca = _ca(folder)
    authorities = [
        Authority(held.subject.rfc4514_string(), _text(held.not_valid_after_utc), held != ca.certificate)
        for held in x509.load_pem_x509_certificates((folder / CA_FILE).read_bytes())
    ]
    return authorities, _record(folder)


def _issue(
    folder: Path, held: list[Issued], name: str, server: bool, names: list[str], days: float, fleet: str
) -> Path:
    ca = _ca(folder)
    serial, pem = make(ca, name, server=server, names=names, days=days, fleet=fleet)
    made = _issued(name, x509.load_pem_x509_certificate(pem))
    assert int(made.serial, 16) == serial, "it is the one that was made"
    older = [replace(known, superseded=True) if known.name == name else known for known in held]
    # The record first: a certificate that nobody knows could never be revoked.
    _write_record(folder, [*older, made])
    path = folder / f"{name}.pem"
    write_private(path, pem)
    return path


def _issued(name: str, certificate: x509.Certificate) -> Issued:
    return Issued(
        name=name,
        server=is_server(certificate),
        names=names_of(certificate),
        serial=f"{certificate.serial_number:x}",
        issuer=certificate.issuer.rfc4514_string(),
        not_after=_text(certificate.not_valid_after_utc),
    )


def _newest(held: list[Issued], name: str) -> Issued:
    for known in reversed(held):
        if known.name == name:
            return known
    there = ", ".join(sorted({known.name for known in held})) or "none"
    raise PreconditionError(
        f"no certificate was issued for {name}",
        f"there are: {there}",
        "look: tunnel pki show",
        code=ErrorCode.CERTIFICATE_NOT_ISSUED,
        facts={"name": name},
    )


def _ca(folder: Path) -> Ca:
    return _read(folder, folder / CA_FILE, folder / CA_KEY_FILE)


def _read(folder: Path, certificate: Path, key: Path) -> Ca:
    try:
        return read_ca(certificate, key)
    except (OSError, ValueError) as error:
        why = f"{Path(error.filename).name}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise PreconditionError(
            f"{folder} holds no usable CA",
            why,
            "name the folder of: tunnel pki init",
            code=ErrorCode.FILE_INVALID,
            facts={"path": str(folder)},
        ) from None


def _write_crl(folder: Path) -> None:
    """Write the lists of all CAs that are trusted: HAProxy asks for one of each."""
    authorities = [_ca(folder)]
    if (folder / OLD_CA_FILE).exists():
        authorities.append(_read(folder, folder / OLD_CA_FILE, folder / OLD_CA_KEY_FILE))
    held = _record(folder)
    lists = b""
    for ca in authorities:
        issuer = ca.certificate.subject.rfc4514_string()
        lists += revocations(
            ca,
            [
                (int(known.serial, 16), datetime.fromisoformat(known.revoked_at))
                for known in held
                if known.revoked_at and known.issuer == issuer
            ],
        )
    write_private(folder / CRL_FILE, lists)


def _record(folder: Path) -> list[Issued]:
    path = folder / RECORD
    if path.exists():
        return [Issued(**fields) for fields in json.loads(path.read_text())["issued"]]
    # A folder of a version that kept no record: what lies there is what was issued.
    files = [file for file in sorted(folder.glob("*.pem")) if file.name not in (CA_FILE, OLD_CA_FILE, CRL_FILE)]
    return [_issued(file.stem, x509.load_pem_x509_certificate(file.read_bytes())) for file in files]


def _write_record(folder: Path, held: list[Issued]) -> None:
    write_private(folder / RECORD, json.dumps({"issued": [asdict(known) for known in held]}, indent=1) + "\n")


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    _ca(folder)
    # The folder itself: a file for the lock would be one more to explain.
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
