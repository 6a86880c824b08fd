"""Certificates: of files, and those that servers show. All are compared with this host's clock."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from migratekit_core.adapters.tunnel import kinds
from migratekit_core.adapters.tunnel.expiry import WARN, validity
from migratekit_core.common.errors import AuthError, UnreachableError
from migratekit_core.common.hints import Hint, at_ca, hint
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

CONNECT_SECONDS = 10.0
NEW_PKI = hint("make new ones (", at_ca("tunnel", "pki"), "), and copy them to both hosts")


def _files(config: Config) -> dict[str, tuple[Path, Hint | str]]:
    """Return certificate files by setting, each with what to do when it ends."""
    found: dict[str, tuple[Path, Hint | str]] = {}
    if config.vcenter is not None and config.vcenter.ca_file:
        found["vcenter.ca_file"] = (config.vcenter.ca_file, "get vCenter's new CA: https://VCENTER/certs/download.zip")
    if config.ossea is not None and config.ossea.ca_file:
        found["ossea.ca_file"] = (config.ossea.ca_file, "get the CA of CloudStack's certificate anew")
    for file in kinds.of(config.tunnel).certificates(config.tunnel):
        if not file.revoked:
            found[f"tunnel.{file.setting}"] = (file.path, NEW_PKI)
    return found


@check("certificates.files", "certificates", lambda config: bool(_files(config)))
def files(site: Site) -> Iterator[Answer]:
    """Look at the certificates in files: there, readable, and valid for a while."""
    for setting, (path, todo) in _files(site.config).items():
        try:
            begins, ends = validity(path.read_bytes())
        except OSError as error:
            yield failed(setting, f"{path}: {error.strerror}", "put the file there, or correct the setting")
            continue
        except ValueError:
            yield failed(setting, f"{path} holds no certificate in PEM form", "replace the file")
            continue
        yield _judged(setting, str(path), begins, ends, todo)


@check("certificates.vcenter", "vCenter's certificate", lambda config: config.vcenter is not None)
def vcenter(site: Site) -> Iterator[Answer]:
    """Have vCenter show its certificate."""
    settings = site.config.vcenter
    assert settings is not None, "applies only then"
    todo = "set vcenter.ca_file to the CA that signed it, and vcenter.host to a name in it; or renew it in vCenter"
    yield _shown("vCenter's certificate", settings.host, settings.port, settings.ca_file, todo)


@check("certificates.cloudstack", "CloudStack's certificate", lambda config: _secured(config) is not None)
def cloudstack(site: Site) -> Iterator[Answer]:
    """Have CloudStack's API show its certificate."""
    found, ossea = _secured(site.config), site.config.ossea
    assert found is not None and ossea is not None, "applies only then"
    todo = "set ossea.ca_file to the CA that signed it, or renew it on the management server"
    yield _shown("CloudStack's certificate", *found, ossea.ca_file, todo)


def _secured(config: Config) -> tuple[str, int] | None:
    if config.ossea is None:
        return None
    parts = urlsplit(config.ossea.api_url)
    return (parts.hostname or "", parts.port or 443) if parts.scheme == "https" else None


def _shown(what: str, host: str, port: int, ca_file: Path | None, todo: Hint | str) -> Answer:
    try:
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        with (
            socket.create_connection((host, port), CONNECT_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            certificate = secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        return failed(what, f"{host}:{port} is not trusted: {error.verify_message}", todo, UnreachableError.exit_code)
    except OSError as error:
        reason = error.strerror or str(error)
        return failed(what, f"{host}:{port} shows none: {reason}", "check host, port and firewall", 6)
    begins, ends = (_time(str(certificate[name])) for name in ("notBefore", "notAfter"))
    return _judged(what, f"{host}:{port}", begins, ends, todo)


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC)


def _judged(what: str, where: str, begins: datetime, ends: datetime, todo: Hint | str) -> Answer:
    now, day = datetime.now(UTC), f"{ends:%Y-%m-%d}"
    if ends <= now:
        return failed(what, f"{where} has expired on {day}", todo, AuthError.exit_code)
    if begins > now:
        found = f"{where} is valid from {begins:%Y-%m-%d %H:%M} UTC on only"
        return failed(what, found, "set this host's clock, or the clock of the host that made it", 5)
    left = ends - now
    days = f"{left.days} day{'' if left.days == 1 else 's'}"
    if left < WARN:
        return warning(what, f"{where} expires in {days}, on {day}", todo)
    return ok(what, f"{where} is valid until {day}")
