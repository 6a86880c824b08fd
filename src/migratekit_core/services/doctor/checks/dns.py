"""Names that have to resolve on this host."""

from __future__ import annotations

import ipaddress
import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from migratekit_core.common.errors import UnreachableError
from migratekit_core.config.schema import Config
from migratekit_core.services.doctor.model import Answer, check, failed, ok, warning
from migratekit_core.services.doctor.site import Site

SLOW = 2.0
"""Seconds; every connection begins with it."""


def names(config: Config) -> dict[str, str]:
    """Return the hosts that the configuration names, by setting."""
    found = {}
    if config.vcenter is not None:
        found["vcenter.host"] = config.vcenter.host
    if config.ossea is not None:
        found["ossea.api_url"] = urlsplit(config.ossea.api_url).hostname or ""
    if config.tunnel.leads_away:
        found["tunnel.host"] = config.tunnel.host
    return found


@check("dns.names", "names", lambda config: bool(names(config)))
def resolve(site: Site) -> Iterator[Answer]:
    """Look up each host that is named."""
    for setting, host in names(site.config).items():
        try:
            ipaddress.ip_address(host.strip("[]"))
        except ValueError:
            yield _resolved(setting, host)
        else:
            yield ok(setting, f"{host} is an address")


def _resolved(setting: str, host: str) -> Answer:
    began = time.monotonic()
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        todo = "check the name, /etc/resolv.conf and /etc/hosts"
        return failed(setting, f"{host} does not resolve: {error.strerror or error}", todo, UnreachableError.exit_code)
    took = time.monotonic() - began
    addresses = ", ".join(sorted({str(entry[4][0]) for entry in found}))
    if took > SLOW:
        return warning(setting, f"{host} is {addresses}, after {took:.1f} s", "check the first name server")
    return ok(setting, f"{host} is {addresses}")
