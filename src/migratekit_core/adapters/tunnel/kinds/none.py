"""No tunnel: this host is the OMA, and its services are on its loopback."""

from __future__ import annotations

from migratekit_core.adapters.tunnel.kinds.kind import Kind, Seen
from migratekit_core.config.schema import Tunnel


def probe(tunnel: Tunnel, service: str) -> Seen:
    """Find nothing in the way."""
    return Seen(None)


KIND = Kind("none", way="on this host", proof="nothing", probe=probe, local_end=None)
