"""Sets up the OMA's end as a service of its own, beside whatever else HAProxy does there, and checks it."""

from __future__ import annotations

import json
import pwd
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from migratekit_core.adapters.tunnel.certificates import is_server, names_of
from migratekit_core.adapters.tunnel.expiry import WARN
from migratekit_core.adapters.tunnel.haproxy import check, program, write_config
from migratekit_core.adapters.tunnel.server import render
from migratekit_core.common.childprocess import last_line
from migratekit_core.common.codes import ErrorCode
from migratekit_core.common.errors import OperationFailedError, PreconditionError
from migratekit_core.common.files import write_private
from migratekit_core.common.hints import Hint, hint, on_oma
from migratekit_core.config.schema import TunnelServer

UNIT, WATCH_UNIT = "migratekit-tunnel.service", "migratekit-tunnel-watch.service"
USER = "migratekit"
CONFIG_FILE = Path("/etc/migratekit/tunnel/haproxy.cfg")
UNIT_FILE = Path("/etc/systemd/system") / UNIT
WATCH_FILE = Path("/etc/systemd/system") / WATCH_UNIT
SYSTEMD = Path("/run/systemd/system")
"""There where systemd runs (sd_booted(3))."""
COMMAND_SECONDS = 60

T = TypeVar("T")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    ok: bool
    detail: str
    todo: Hint | str = ""


@dataclass(frozen=True)
class Change:
    """One thing that `install` does, or would do."""

    what: str
    """A file, or a command."""
    change: str
    """`write`, `same` (nothing to do), `run`, or `skip`."""


def inspect(settings: TunnelServer, user: str = USER) -> list[Finding]:
    """Return what is to be said of the certificates and the configuration, before anything is installed."""
    return [*_certificates(settings, user), _configuration(settings)]


def look(settings: TunnelServer, root: Path = Path("/")) -> list[Finding]:
    """Return what is to be said of an installation: `inspect`, and whether it is in place, runs and answers."""
    config, unit = _below(root, CONFIG_FILE), _below(root, UNIT_FILE)
    same = config.is_file() and config.read_text() == render(settings)
    found = [
        *inspect(settings),
        Finding("installed configuration", same, str(config) if same else f"{config} is missing or another", INSTALL),
        Finding("unit", unit.is_file(), str(unit), "" if unit.is_file() else INSTALL),
    ]
    if SYSTEMD.is_dir():
        state = _systemctl("is-active", UNIT).stdout.strip()
        found.append(Finding("service", state == "active", state, f"look: journalctl -u {UNIT}"))
    return [*found, _listening(settings), *_services(settings)]


INSTALL = hint("run: ", on_oma("tunnel", "server", "install"))


def install(settings: TunnelServer, *, dry_run: bool, user: str = USER, root: Path = Path("/")) -> list[Change]:
    """Write HAProxy's configuration and the unit, and start it; return what was done. To repeat it changes nothing.

    Raises PreconditionError for certificates or a configuration that would not work, and where the user is missing;
    OperationFailedError where systemd refuses.
    """
    for finding in inspect(settings, user):
        if not finding.ok:
            raise PreconditionError(
                f"tunnel server: {finding.check}",
                finding.detail,
                finding.todo,
                code=ErrorCode.TUNNEL_UNFIT,
                facts={"check": finding.check},
            )
    owner = _user(user)
    if owner is None:
        raise PreconditionError(
            f"there is no user {user}", "the tunnel must not run as root",
            f"useradd --system --home-dir /var/lib/migratekit --shell /usr/sbin/nologin {user}",
            code=ErrorCode.TUNNEL_UNFIT, facts={"user": user})  # fmt: skip
    config = _below(root, CONFIG_FILE)
    wanted = render(settings)
    new_config = not config.is_file() or config.read_text() != wanted
    units = {_below(root, UNIT_FILE): unit_for(user), _below(root, WATCH_FILE): watch_unit_for(user, settings)}
    new_units = [unit for unit, text in units.items() if not unit.is_file() or unit.read_text() != text]
    new_unit = bool(new_units)
    changes = [
        Change(str(config), "write" if new_config else "same"),
        *(Change(str(unit), "write" if unit in new_units else "same") for unit in units),
    ]
    runs = root == Path("/") and SYSTEMD.is_dir()
    commands: list[tuple[str, ...]] = [("daemon-reload",)] if new_unit else []
    commands.append(("enable", UNIT, WATCH_UNIT))
    # Not reloaded: connections that are open would go on under the old list of revoked certificates.
    commands.append(("restart" if new_config or new_unit else "start", UNIT, WATCH_UNIT))
    changes += [Change("systemctl " + " ".join(command), "run" if runs else "skip") for command in commands]
    if dry_run:
        return changes
    if new_config:
        config.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        write_config(config, wanted)
        shutil.chown(config, user=owner.pw_uid, group=owner.pw_gid)
    for unit in new_units:
        unit.parent.mkdir(parents=True, exist_ok=True)
        write_private(unit, units[unit])
        unit.chmod(0o644)
    for command in commands if runs else []:
        done = _systemctl(*command)
        if done.returncode != 0:
            raise OperationFailedError(
                f"systemctl {' '.join(command)} failed", last_line(done.stderr),
                f"look: journalctl -u {UNIT}", code=ErrorCode.SYSTEMD_REFUSED, facts={"unit": UNIT})  # fmt: skip
    return changes


def unit_for(user: str) -> str:
    """Return the unit's text."""
    text = files("migratekit_core.adapters.tunnel").joinpath(UNIT).read_text(encoding="utf-8")
    return text.replace("@HAPROXY@", program()).replace("@CONFIG@", str(CONFIG_FILE)).replace("@USER@", user)


def watch_unit_for(user: str, settings: TunnelServer) -> str:
    """Return the text of the unit that ends connections of certificates that do not hold any more."""
    text = files("migratekit_core.adapters.tunnel").joinpath(WATCH_UNIT).read_text(encoding="utf-8")
    words = [str(Path(sys.executable).with_name("migratekit")), "tunnel", "server", "watch"]
    words += ["--cert", str(settings.cert_file), "--ca", str(settings.ca_file), "--admin", str(settings.stats_socket)]
    words += ["--crl", str(settings.crl_file)] if settings.crl_file is not None else []
    return text.replace("@COMMAND@", " ".join(map(_word, words))).replace("@USER@", user)


def _word(text: str) -> str:
    """Return a word of a unit's command (systemd.service(5), "Command lines")."""
    plain = text.replace("%", "%%").replace("$", "$$")
    return plain if re.fullmatch(r"[A-Za-z0-9_@%$+=:,./-]+", plain) else json.dumps(plain, ensure_ascii=False)


def _certificates(settings: TunnelServer, user: str) -> Iterator[Finding]:
    pair = _read(settings.cert_file, "certificate", lambda data: (x509.load_pem_x509_certificate(data), data))
    if isinstance(pair, Finding):
        yield pair
        return
    certificate, data = pair
    yield _key(settings.cert_file, certificate, data)
    yield _readable(settings.cert_file, user)
    missing = sorted(set(settings.addresses) - set(names_of(certificate)))
    yield Finding(
        "certificate is a server's", is_server(certificate), str(settings.cert_file), "use oma.pem, not vma.pem"
    )
    yield Finding(
        "certificate's names", not missing, f"lacks {', '.join(missing)}" if missing else "volumes, db, nbd",
        "tunnel pki issue NAME --server",
    )  # fmt: skip
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    days = f"until {certificate.not_valid_after_utc:%Y-%m-%d}"
    yield Finding("certificate is valid", left.total_seconds() > 0, days, "tunnel pki rotate oma")
    if 0 < left.total_seconds() < WARN.total_seconds():
        yield Finding("certificate ends soon", True, days, "tunnel pki rotate oma")
    authorities = _read(settings.ca_file, "CA", x509.load_pem_x509_certificates)
    if isinstance(authorities, Finding):
        yield authorities
        return
    issuers = [ca for ca in authorities if _issued_by(certificate, ca)]
    yield Finding(
        "certificate is of this CA", bool(issuers), str(settings.ca_file), "use ca.pem and oma.pem of one folder"
    )
    if settings.crl_file is not None:
        yield _revocations(settings.crl_file, authorities, certificate)


def _read(path: Path, what: str, load: Callable[[bytes], T]) -> T | Finding:
    try:
        return load(path.read_bytes())
    except OSError as error:
        return Finding(what, False, f"{path}: {error.strerror}", "copy it there")
    except ValueError:
        return Finding(what, False, f"{path} holds none", "copy the PEM file that `tunnel pki` made")


def _key(path: Path, certificate: x509.Certificate, data: bytes) -> Finding:
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        return Finding("key is private", False, f"{path} has mode {mode:o}", f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        return Finding("key", False, f"{path} holds none", "certificate and key belong in one file")
    fits = key.public_key() == certificate.public_key()
    return Finding("key", fits, str(path), "" if fits else "it is another certificate's key")


def _readable(path: Path, user: str) -> Finding:
    owner = _user(user)
    fine = owner is None or path.stat().st_uid == owner.pw_uid
    return Finding("key's owner", fine, f"{path} belongs to user {path.stat().st_uid}", f"chown {user}: {path}")


def _issued_by(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _revocations(path: Path, authorities: list[x509.Certificate], certificate: x509.Certificate) -> Finding:
    what, end = "revoked certificates", b"-----END X509 CRL-----"
    try:
        parts = path.read_bytes().split(end)[:-1]
        lists = [x509.load_pem_x509_crl(part + end + b"\n") for part in parts]
    except (OSError, ValueError) as error:
        return Finding(what, False, f"{path}: {error}", "copy crl.pem there")
    for ca in authorities:
        mine = [held for held in lists if held.issuer == ca.subject]
        if not mine:
            return Finding(what, False, f"{path} has none of {ca.subject.rfc4514_string()}", "copy crl.pem there again")
        if any(held.next_update_utc and held.next_update_utc < datetime.now(UTC) for held in mine):
            return Finding(what, False, f"{path} has run out: HAProxy would refuse everybody", "make a new crl.pem")
    if any(held.get_revoked_certificate_by_serial_number(certificate.serial_number) for held in lists):
        return Finding(what, False, "the OMA's own certificate is revoked", "tunnel pki rotate oma")
    return Finding(what, True, f"{sum(len(held) for held in lists)} listed in {path}")


def _configuration(settings: TunnelServer) -> Finding:
    try:
        problem = check(render(settings))
    except PreconditionError as error:
        return Finding("HAProxy", False, error.what, error.todo)
    return Finding("HAProxy takes the configuration", not problem, problem or program(), "check the files it names")


def _listening(settings: TunnelServer) -> Finding:
    host, _, port = settings.listen.rpartition(":")
    address = ("127.0.0.1" if host in ("", "*", "0.0.0.0") else host.strip("[]"), int(port))  # noqa: S104
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Whether it answers; whom it shows itself to be was looked at in the file.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(address, 5) as plain, context.wrap_socket(plain, server_hostname="db") as secured:
            shown = x509.load_der_x509_certificate(secured.getpeercert(binary_form=True) or b"")
            same = shown == x509.load_pem_x509_certificate(settings.cert_file.read_bytes())
            version = secured.version()
    except (OSError, ValueError) as error:
        return Finding(f"answers on {settings.listen}", False, str(error), f"systemctl restart {UNIT}")
    if not same:
        detail = "it shows another certificate than the file's"
        return Finding(f"answers on {settings.listen}", False, detail, f"systemctl restart {UNIT}")
    return Finding(f"answers on {settings.listen}", version == "TLSv1.3", str(version), "")


def _services(settings: TunnelServer) -> Iterator[Finding]:
    for name, address in settings.addresses.items():
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), 5).close()
            yield Finding(f"service {name}", True, address)
        except OSError as error:
            yield Finding(f"service {name}", False, f"{address}: {error.strerror or error}", "start it")


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemctl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)


def _user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")
