"""The kinds of tunnel. Nobody else looks at `tunnel.kind`: a new kind is a file here and a line in KINDS (and its name
and settings in the [tunnel] table, config.schema)."""

from __future__ import annotations

from migratekit_core.adapters.tunnel.kinds import none, ssh, tls
from migratekit_core.adapters.tunnel.kinds.kind import Kind
from migratekit_core.config.schema import Tunnel

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        none.KIND,
        tls.KIND,
        ssh.KIND,
    )
}


def of(tunnel: Tunnel) -> Kind:
    """Return the kind of a tunnel."""
    return KINDS[tunnel.kind]
