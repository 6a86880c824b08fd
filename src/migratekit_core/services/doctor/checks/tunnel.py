"""The tunnel: its local end, and that the OMA takes this host's certificate."""

from __future__ import annotations

from collections.abc import Iterator

from migratekit_core.adapters.tunnel import kinds
from migratekit_core.services.doctor.model import Answer, check, ok
from migratekit_core.services.doctor.site import Site


@check("tunnel.way", "tunnel", lambda config: config.tunnel.leads_away)
def way(site: Site) -> Iterator[Answer]:
    """Bring the tunnel up, as every command does, and have the OMA answer."""
    site.tunnel()
    tunnel = site.config.tunnel
    yield ok("tunnel", f"{tunnel.host}:{tunnel.port} takes {kinds.of(tunnel).proof}")
